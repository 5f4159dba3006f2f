"""Speed, as ratios of two things measured in one run on one machine.

Run from a clone by `launch/benchmark.py`; no part of the installed package.
"""

from benchmarks.attention import benchmark_attention, benchmark_turns
from benchmarks.certificate import CertificateCost, benchmark_certificate
from benchmarks.compiling import benchmark_compile
from benchmarks.convert import Conversion, benchmark_convert
from benchmarks.data import SESSIONS, benchmark_data, benchmark_plan
from benchmarks.session import SessionCost, benchmark_session
from benchmarks.step import benchmark_products, benchmark_step
from benchmarks.timing import Timing, interleave, pinned

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
    "pinned",
]
