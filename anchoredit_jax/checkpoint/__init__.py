"""Checkpoints of a training state, weights to ship, and where weights come from."""

from anchoredit_jax.checkpoint.assets import (
    Weights,
    find_step,
    load_bundle,
    load_weights,
    save_bundle,
)
from anchoredit_jax.checkpoint.keeping import (
    checkpoints_on_disk,
    policy_of,
    state_bytes,
)
from anchoredit_jax.checkpoint.lineage import Lineage, check_parent
from anchoredit_jax.checkpoint.manager import (
    committed_steps,
    latest_step,
    open_manager,
    read_item,
    read_meta,
    restore,
    save,
    tree_shapes,
)
from anchoredit_jax.trees import digest

__all__ = [
    "Lineage",
    "Weights",
    "check_parent",
    "checkpoints_on_disk",
    "committed_steps",
    "digest",
    "find_step",
    "latest_step",
    "load_bundle",
    "load_weights",
    "open_manager",
    "policy_of",
    "read_item",
    "read_meta",
    "restore",
    "save",
    "save_bundle",
    "state_bytes",
    "tree_shapes",
]
