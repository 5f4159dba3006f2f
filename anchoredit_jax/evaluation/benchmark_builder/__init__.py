"""Benchmarks of long sessions, out of images and lists of instructions."""

from anchoredit_jax.evaluation.benchmark_builder.build import build_benchmark
from anchoredit_jax.evaluation.benchmark_builder.settings import BenchmarkSettings

__all__ = ["BenchmarkSettings", "build_benchmark"]
