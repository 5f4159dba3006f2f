"""The causal memory, its position policies, and the frame-visibility rule."""

from anchoredit_jax.memory.causal_memory import (
    CausalMemory,
    MemoryConfig,
    MemoryView,
    commit,
    init_memory,
    view,
)
from anchoredit_jax.memory.visibility import FrameVisibility

__all__ = [
    "CausalMemory",
    "FrameVisibility",
    "MemoryConfig",
    "MemoryView",
    "commit",
    "init_memory",
    "view",
]
