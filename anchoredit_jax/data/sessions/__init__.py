"""Editing sessions as people have them: raw files in tar shards or folders."""

from anchoredit_jax.data.sessions.folders import (
    fingerprint_part,
    is_fingerprint,
    list_parts,
    read_part,
)
from anchoredit_jax.data.sessions.pack import LIST_NAME, pack_sessions
from anchoredit_jax.data.sessions.raw import (
    IGNORED,
    REASONS,
    Dropped,
    Part,
    RawSession,
    printable,
)
from anchoredit_jax.data.sessions.validation import (
    ValidationSession,
    read_validation,
)

__all__ = [
    "IGNORED",
    "LIST_NAME",
    "REASONS",
    "Dropped",
    "Part",
    "RawSession",
    "ValidationSession",
    "fingerprint_part",
    "is_fingerprint",
    "list_parts",
    "pack_sessions",
    "printable",
    "read_part",
    "read_validation",
]
