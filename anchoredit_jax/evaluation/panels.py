"""Which measures stand together in a figure, and in which order in tables."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from anchoredit_jax.evaluation.measures import (
    MEASURES,
    RETURNS,
    Measure,
    describe_features,
)

_RATE = (0.0, 1.03)


@dataclasses.dataclass(frozen=True)
class Group:
    """Measures of one figure.

    Attributes:
      name, title: in file names, and above the figure.
      measures: a panel each.
      with_truth: whether the ground truth has a line of its own: instructions change
        colours too, and only what differs from it is drift.
    """

    name: str
    title: str
    measures: tuple[Measure, ...]
    with_truth: bool = False


SPRITES = Group(
    "edits",
    "edits and subject",
    (
        Measure("success", "edit success", "", True, _RATE),
        Measure("subject_psnr", "subject PSNR", "dB", True),
        Measure("retrieved", "right subject of 48", "", True, _RATE),
        Measure("untouched_psnr", "untouched PSNR", "dB", True),
        Measure("covered_psnr", "PSNR under the cover", "dB", True),
        Measure("state", "whole state right", "", True, _RATE),
    ),
)
JUDGE = Group(
    "judge",
    "the judge's scores",
    (
        Measure("judge_instruction", "instruction followed", "of 10", True, (0, 10.3)),
        Measure("judge_consistency", "all else kept", "of 10", True, (0, 10.3)),
        Measure("judge_success", "SR@k: followed up to here", "", True, _RATE),
        Measure("judge_kept", "CR@k: kept up to here", "", True, _RATE),
    ),
)
_TONE = ("saturation", "luminance_p05", "luminance_p50", "luminance_p95")
_COLOUR = (*_TONE, "high_frequency")
GROUPS = (
    SPRITES,
    Group("identity", "identity", tuple(m for m in MEASURES if m.name not in _COLOUR)),
    Group(
        "colour",
        "colour and sharpness against the source",
        tuple(m for m in MEASURES if m.name in _COLOUR),
        with_truth=True,
    ),
    Group("returns", "returns to earlier states", RETURNS),
    JUDGE,
)


def groups_of(report: Mapping[str, Any]) -> tuple[Group, ...]:
    """`GROUPS`, and one of the extractors that a report's settings name."""
    names = report["instruments"]["extractors"]
    features = tuple(m for name in names for m in describe_features(name))
    if not features:
        return GROUPS
    return (*GROUPS, Group("features", "similarity of features", features))


def measures_of(groups: Sequence[Group]) -> list[Measure]:
    """All measures, group after group."""
    return [measure for group in groups for measure in group.measures]
