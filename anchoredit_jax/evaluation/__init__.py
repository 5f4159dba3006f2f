"""How well an editor follows instructions and keeps the subject, turn after turn."""

from anchoredit_jax.evaluation.parts import DATASET_PARTS, PARTS, check_parts
from anchoredit_jax.evaluation.policies import (
    DEFAULT_POLICIES,
    parse_policies,
    parse_policy,
    policy_title,
)
from anchoredit_jax.evaluation.report import check_out, evaluate, format_report
from anchoredit_jax.evaluation.runs import Part, PolicyRun
from anchoredit_jax.evaluation.settings import Contestant, Settings

__all__ = [
    "DATASET_PARTS",
    "DEFAULT_POLICIES",
    "PARTS",
    "Contestant",
    "check_out",
    "check_parts",
    "Part",
    "PolicyRun",
    "Settings",
    "evaluate",
    "format_report",
    "parse_policies",
    "parse_policy",
    "policy_title",
]
