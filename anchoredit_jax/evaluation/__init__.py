"""How well an editor follows instructions and keeps the subject, turn after turn."""

from anchoredit_jax.evaluation.contact_sheet import SheetRow, draw_sheet, stack_sheets
from anchoredit_jax.evaluation.held_out import (
    ambiguous_sessions,
    held_out_sessions,
    instructions_of,
    story_sessions,
)
from anchoredit_jax.evaluation.policies import (
    DEFAULT_POLICIES,
    parse_policies,
    parse_policy,
    parse_sampler,
    policy_title,
    sampler_title,
)
from anchoredit_jax.evaluation.report import (
    PARTS,
    Contestant,
    PolicyRun,
    Settings,
    evaluate,
    format_report,
)
from anchoredit_jax.evaluation.rollout import rollout_sessions
from anchoredit_jax.evaluation.sprites import (
    SUCCESS_PSNR,
    SpriteScores,
    render_truth,
    score_sessions,
)
from anchoredit_jax.evaluation.statistics import bootstrap_mean, psnr
from anchoredit_jax.evaluation.summary import (
    compare_scores,
    summarise,
    summarise_ambiguous,
    summarise_story,
)

__all__ = [
    "DEFAULT_POLICIES",
    "PARTS",
    "SUCCESS_PSNR",
    "Contestant",
    "PolicyRun",
    "Settings",
    "SheetRow",
    "SpriteScores",
    "ambiguous_sessions",
    "bootstrap_mean",
    "compare_scores",
    "draw_sheet",
    "evaluate",
    "format_report",
    "held_out_sessions",
    "instructions_of",
    "parse_policies",
    "parse_policy",
    "parse_sampler",
    "policy_title",
    "psnr",
    "render_truth",
    "rollout_sessions",
    "sampler_title",
    "score_sessions",
    "stack_sheets",
    "story_sessions",
    "summarise",
    "summarise_ambiguous",
    "summarise_story",
]
