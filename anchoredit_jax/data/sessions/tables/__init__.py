"""Sessions in tables: parquet files, JSON lines, and rows of files in tar shards."""

from anchoredit_jax.data.sessions.tables.columns import parse_columns
from anchoredit_jax.data.sessions.tables.parts import Reading, TablePart

__all__ = ["Reading", "TablePart", "parse_columns"]
