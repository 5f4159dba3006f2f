"""Which programs get compiled: what a session or a training run must not do twice."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def record_compilations() -> Iterator[list[str]]:
    """A list that grows by a name ("jit(f)") for each program compiled in the block."""
    names: list[str] = []

    def listen(event: str, seconds: float, **details: Any) -> None:
        if event == _EVENT:
            names.append(details.get("fun_name", "unknown"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
