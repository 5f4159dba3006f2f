"""Sessions in tables: parquet files, JSON lines, and rows of files in tar shards."""

from anchoredit_jax.data.sessions.tables.columns import parse_columns
from anchoredit_jax.data.sessions.tables.gaps import ON_GAP
from anchoredit_jax.data.sessions.tables.parts import Reading, TablePart

__all__ = ["ON_GAP", "Reading", "TablePart", "parse_columns"]
