"""Benchmarks of long sessions, out of images and lists of instructions."""

from benchmarks.session_builder.build import build_benchmark
from benchmarks.session_builder.settings import BenchmarkSettings

__all__ = ["BenchmarkSettings", "build_benchmark"]
