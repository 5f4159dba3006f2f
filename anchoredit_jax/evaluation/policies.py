"""Memory policies by their short names on a command line, and in words."""

import re

from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import MemoryConfig

DEFAULT_POLICIES = ("full", "sink1_window3", "window3")
_POLICY = re.compile(r"(?:(full)|(?:sink(\d+)_)?window(\d+))")


def parse_policy(text: str) -> MemoryConfig:
    """A memory from "full", "window3" (no sink) or "sink1_window3".

    Raises:
      UserError: the text is any other.
    """
    match = _POLICY.fullmatch(text.strip())
    if match is None:
        raise UserError(
            f"unknown memory policy {text!r}; write full, window3 (no sink) or "
            "sink1_window3"
        )
    full, sink, window = match.groups()
    if full:
        return MemoryConfig(sink=1, window=None)
    return MemoryConfig(sink=int(sink or 0), window=int(window))


def parse_policies(text: str) -> dict[str, MemoryConfig]:
    """Comma-separated policies, in their order.

    Raises:
      UserError: for an empty list, an unknown or a repeated name.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError("no memory policy given; write for example full,sink1_window3")
    if len(set(names)) != len(names):
        raise UserError(f"a memory policy is named twice in {text!r}")
    return {name: parse_policy(name) for name in names}


def policy_title(name: str) -> str:
    """A policy's name for tables and figures."""
    full, sink, window = _POLICY.fullmatch(name).groups()
    if full:
        return "full history"
    return f"sink {sink} + window {window}" if sink else f"window {window}, no sink"
