"""Editing sessions as people have them: raw files in tar shards or folders."""

from anchoredit_jax.data.sessions.folders import list_parts, read_part
from anchoredit_jax.data.sessions.pack import LIST_NAME, pack_sessions
from anchoredit_jax.data.sessions.raw import (
    REASONS,
    Dropped,
    Part,
    RawSession,
)
from anchoredit_jax.data.sessions.validation import (
    ValidationSession,
    read_validation,
)

__all__ = [
    "LIST_NAME",
    "REASONS",
    "Dropped",
    "Part",
    "RawSession",
    "ValidationSession",
    "list_parts",
    "pack_sessions",
    "read_part",
    "read_validation",
]
