"""Prepared datasets of editing sessions: made once, read at random."""

from anchoredit_jax.data.prepared.filters import Filters
from anchoredit_jax.data.prepared.prepare import Report, prepare
from anchoredit_jax.data.prepared.reader import PreparedSessions, Session

__all__ = ["Filters", "PreparedSessions", "Report", "Session", "prepare"]
