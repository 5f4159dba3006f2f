"""How well an editor follows instructions and keeps the subject, turn after turn."""

from anchoredit_jax.evaluation.cases import Case, identity_cases, sprite_cases
from anchoredit_jax.evaluation.contact_sheet import SheetRow, draw_sheet, stack_sheets
from anchoredit_jax.evaluation.instruments import Instruments
from anchoredit_jax.evaluation.policies import (
    DEFAULT_POLICIES,
    parse_policies,
    parse_policy,
    parse_sampler,
    policy_title,
    sampler_title,
)
from anchoredit_jax.evaluation.policy_run import PolicyRun
from anchoredit_jax.evaluation.report import evaluate, format_report
from anchoredit_jax.evaluation.rollout import iterate_rollouts, rollout_sessions
from anchoredit_jax.evaluation.settings import (
    DATASET_PARTS,
    PARTS,
    Contestant,
    Settings,
)
from anchoredit_jax.evaluation.statistics import bootstrap_mean
from anchoredit_jax.evaluation.summary import (
    compare,
    followed,
    summarise,
    summarise_ambiguous,
    summarise_story,
)

__all__ = [
    "DATASET_PARTS",
    "DEFAULT_POLICIES",
    "PARTS",
    "Case",
    "Contestant",
    "Instruments",
    "PolicyRun",
    "Settings",
    "SheetRow",
    "bootstrap_mean",
    "compare",
    "draw_sheet",
    "evaluate",
    "followed",
    "format_report",
    "identity_cases",
    "iterate_rollouts",
    "parse_policies",
    "parse_policy",
    "parse_sampler",
    "policy_title",
    "rollout_sessions",
    "sampler_title",
    "sprite_cases",
    "stack_sheets",
    "summarise",
    "summarise_ambiguous",
    "summarise_story",
]
