"""Sprites: procedural editing sessions with exact ground truth."""

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
    "Accessory",
    "Edit",
    "Scene",
    "SpriteSession",
    "SpriteSource",
    "cover_session",
    "make_edit",
    "null_edit",
    "possible_kinds",
    "render",
    "sample_edit",
    "sample_scene",
    "sample_session",
    "subject_mask",
]
