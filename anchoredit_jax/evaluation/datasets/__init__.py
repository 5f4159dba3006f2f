"""The layouts of test sets that people have, as cases."""

from anchoredit_jax.evaluation.datasets.layouts import (
    LISTS,
    MAGICBRUSH,
    VALIDATION,
    dataset_cases,
    find_layout,
    single_turn_cases,
)

__all__ = [
    "LISTS",
    "MAGICBRUSH",
    "VALIDATION",
    "dataset_cases",
    "find_layout",
    "single_turn_cases",
]
