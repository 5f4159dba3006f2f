"""Runs that can be shown to repeat: certificates, and what compares them.

What this list names needs no devices; the other modules (`recorder`, `rerun`, `train`,
`legs`, `battery`, `sessions`) are imported by those that run something.
"""

from anchoredit_jax.reproducibility.certificate import Certificate, Row, read, write
from anchoredit_jax.reproducibility.comparing import (
    KINDS,
    Comparison,
    Difference,
    compare,
)
from anchoredit_jax.reproducibility.outcomes import Outcome, table
from anchoredit_jax.reproducibility.report import describe

__all__ = [
    "KINDS",
    "Certificate",
    "Comparison",
    "Difference",
    "Outcome",
    "Row",
    "compare",
    "describe",
    "read",
    "table",
    "write",
]
