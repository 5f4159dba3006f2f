"""Speed, as ratios of two things measured in one run on one machine."""

from anchoredit_jax.benchmark.attention import benchmark_attention, benchmark_turns
from anchoredit_jax.benchmark.certificate import (
    CertificateCost,
    benchmark_certificate,
)
from anchoredit_jax.benchmark.compiling import benchmark_compile
from anchoredit_jax.benchmark.convert import Conversion, benchmark_convert
from anchoredit_jax.benchmark.data import SESSIONS, benchmark_data, benchmark_plan
from anchoredit_jax.benchmark.session import SessionCost, benchmark_session
from anchoredit_jax.benchmark.step import benchmark_products, benchmark_step
from anchoredit_jax.benchmark.timing import Timing, interleave

__all__ = [
    "SESSIONS",
    "CertificateCost",
    "Conversion",
    "SessionCost",
    "Timing",
    "benchmark_attention",
    "benchmark_certificate",
    "benchmark_compile",
    "benchmark_convert",
    "benchmark_data",
    "benchmark_plan",
    "benchmark_products",
    "benchmark_session",
    "benchmark_step",
    "benchmark_turns",
    "interleave",
]
