"""Benchmarks of long sessions, out of images and lists of instructions."""
