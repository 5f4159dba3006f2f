"""Sprites: procedural editing sessions with exact ground truth."""

from anchoredit_jax.data.sprites.held_out import (
    ambiguous_sessions,
    check_held_out,
    held_out_sessions,
    story_sessions,
)
from anchoredit_jax.data.sprites.instructions import (
    AMBIGUOUS_KINDS,
    KINDS,
    NULL_INSTRUCTION,
    PHRASES,
    Edit,
    make_edit,
    null_edit,
    possible_kinds,
    sample_edit,
)
from anchoredit_jax.data.sprites.render import render, subject_mask
from anchoredit_jax.data.sprites.scene import (
    ATTRIBUTES,
    COLOURS,
    SHAPES,
    SLOTS,
    Accessory,
    Scene,
    sample_scene,
)
from anchoredit_jax.data.sprites.scores import (
    SUCCESS_PSNR,
    SpriteScores,
    render_truth,
    score_sessions,
)
from anchoredit_jax.data.sprites.sessions import (
    DEFAULT_WEIGHTS,
    SpriteSession,
    cover_session,
    sample_session,
)
from anchoredit_jax.data.sprites.source import (
    ENDLESS,
    SpriteSource,
)
from anchoredit_jax.data.sprites.view import SpriteView, square_view

__all__ = [
    "AMBIGUOUS_KINDS",
    "ATTRIBUTES",
    "COLOURS",
    "DEFAULT_WEIGHTS",
    "ENDLESS",
    "KINDS",
    "NULL_INSTRUCTION",
    "PHRASES",
    "SHAPES",
    "SLOTS",
    "SUCCESS_PSNR",
    "Accessory",
    "Edit",
    "Scene",
    "SpriteScores",
    "SpriteSession",
    "SpriteSource",
    "SpriteView",
    "ambiguous_sessions",
    "check_held_out",
    "cover_session",
    "held_out_sessions",
    "make_edit",
    "null_edit",
    "possible_kinds",
    "render",
    "render_truth",
    "sample_edit",
    "sample_scene",
    "sample_session",
    "score_sessions",
    "square_view",
    "story_sessions",
    "subject_mask",
]
