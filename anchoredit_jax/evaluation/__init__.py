"""How well an editor follows instructions and keeps the subject, turn after turn."""

from anchoredit_jax.evaluation.cases import Case, identity_cases, sprite_cases
from anchoredit_jax.evaluation.contact_sheet import SheetRow, draw_sheet, stack_sheets
from anchoredit_jax.evaluation.held_out import (
    ambiguous_sessions,
    held_out_sessions,
    instructions_of,
    story_sessions,
)
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
from anchoredit_jax.evaluation.sprites import (
    SUCCESS_PSNR,
    SpriteScores,
    render_truth,
    score_sessions,
)
from anchoredit_jax.evaluation.statistics import bootstrap_mean, psnr
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
    "SUCCESS_PSNR",
    "Case",
    "Contestant",
    "Instruments",
    "PolicyRun",
    "Settings",
    "SheetRow",
    "SpriteScores",
    "ambiguous_sessions",
    "bootstrap_mean",
    "compare",
    "draw_sheet",
    "evaluate",
    "followed",
    "format_report",
    "held_out_sessions",
    "identity_cases",
    "instructions_of",
    "iterate_rollouts",
    "parse_policies",
    "parse_policy",
    "parse_sampler",
    "policy_title",
    "psnr",
    "render_truth",
    "rollout_sessions",
    "sampler_title",
    "score_sessions",
    "sprite_cases",
    "stack_sheets",
    "story_sessions",
    "summarise",
    "summarise_ambiguous",
    "summarise_story",
]
