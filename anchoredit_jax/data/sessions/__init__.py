"""Editing sessions as people have them: raw files in shards or folders, and tables."""

from anchoredit_jax.data.sessions.folders import is_fingerprint, list_parts
from anchoredit_jax.data.sessions.inspection import Inspection, inspect
from anchoredit_jax.data.sessions.pack import LIST_NAME, pack_sessions
from anchoredit_jax.data.sessions.raw import (
    IGNORED,
    REASONS,
    Dropped,
    Part,
    RawSession,
    printable,
)
from anchoredit_jax.data.sessions.sources import (
    Source,
    fingerprint_part,
    open_source,
    read_part,
)
from anchoredit_jax.data.sessions.tables import (
    Reading,
    TablePart,
    parse_columns,
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
    "Inspection",
    "Part",
    "RawSession",
    "Reading",
    "Source",
    "TablePart",
    "ValidationSession",
    "fingerprint_part",
    "inspect",
    "is_fingerprint",
    "list_parts",
    "open_source",
    "pack_sessions",
    "parse_columns",
    "printable",
    "read_part",
    "read_validation",
]
