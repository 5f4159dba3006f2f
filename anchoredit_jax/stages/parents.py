"""What a stage starts from: its parent's weights, found, checked and widened."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.checkpoint.assets import Weights
from anchoredit_jax.checkpoint.lineage import IMPORTED, Lineage, check_parent
from anchoredit_jax.config import RunConfig, differing_keys
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import state_shardings
from anchoredit_jax.stages import STAGES

# Model fields in which a stage may differ from the checkpoint it starts from: they say
# how to compute, not what; all others belong to the weights.
COMPUTE_ONLY = tuple(
    f"model.{name}" for name in ("attention", "dtype", "init", "remat", "scan_unroll")
)


# What published weights fix; how they are used is up to the stage that takes them.
GEOMETRY = tuple(
    f"model.{name}"
    for name in (
        "dim", "ffn_dim", "num_heads", "num_layers", "channels", "text_dim",
        "freq_dim", "patch", "eps",
    )
)  # fmt: skip


def find_parent(
    run: RunConfig,
    workdir: str | Path,
    parent: str | Path | Weights | None,
    mesh: Mesh | None = None,
) -> tuple[Weights | None, dict[str, Any] | None]:
    """What a fresh run of `run.stage` starts from.

    Args:
      mesh: where it goes, each part read by the processes that hold it.

    Returns:
      (the EMA weights with their lineage, the trees by name that `init_state` takes:
      "params", "ema", and "teacher" where the parent has one); or (None, None).

    Raises:
      UserError: missing, of a stage that this one cannot follow, or of another model.
    """
    allowed = STAGES[run.stage].PARENTS
    if parent is None:
        for stage in allowed:
            if manager.latest_step(Path(workdir) / stage / "checkpoints") is not None:
                parent = Path(workdir) / stage
                break
    places = None
    if mesh is not None and mesh.size > 1:
        places = functools.partial(state_shardings, mesh=mesh)
    weights = parent
    if parent is not None and not isinstance(parent, Weights):
        weights = assets.load_weights(parent, places=places)
    check_parent(run.stage, allowed, weights.lineage if weights else None)
    if weights is None:
        return None, None
    imported = weights.lineage.stage == IMPORTED
    differing = [
        key
        for key in differing_keys(run, weights.run)
        if (key in GEOMETRY if imported else _belongs_to_weights(key))
    ]
    if differing:
        raise UserError(
            f"stage {run.stage} cannot start from this {weights.lineage.stage} "
            f"checkpoint, it differs in {', '.join(differing)}"
        )
    # Weights may be stored narrower than they are trained.
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), weights.params)
    if places is not None:
        params = jax.tree.map(_put, params, places(params))
    trees = {"params": params, "ema": params}
    if not isinstance(parent, Weights) and not assets.is_bundle(parent):
        step_dir = assets.find_step(parent)
        names = {"params", "teacher"} & manager.tree_shapes(step_dir).keys()
        trees |= {name: manager.read_item(step_dir, name, places) for name in names}
    return weights, trees


def _put(leaf: Any, place: jax.sharding.Sharding) -> jax.Array:
    """The same array elsewhere; one of this process is the same on all others."""
    if not leaf.is_fully_addressable or place.is_fully_addressable:
        return jax.device_put(leaf, place)
    local = np.asarray(leaf)
    return jax.make_array_from_callback(leaf.shape, place, lambda part: local[part])


def _belongs_to_weights(key: str) -> bool:
    return key.startswith(("model.", "codec.", "text.")) and key not in COMPUTE_ONLY


def check_same_parent(
    stage: str, recorded: Lineage | None, parent: str | Path | Weights | None
) -> None:
    """Refuse to continue a run that began from another parent than the one named.

    Raises:
      UserError: says which one it began from.
    """
    if parent is None:
        return
    if isinstance(parent, Weights):
        named = (parent.lineage.stage, parent.lineage.step)
    else:
        named = assets.peek(parent)
    ours = (recorded.stage, recorded.step) if recorded else None
    if named != ours:
        started = f"{ours[0]} at step {ours[1]}" if ours else "scratch"
        raise UserError(
            f"this run of {stage} began from {started}, --parent names {named[0]} at "
            f"step {named[1]}: leave --parent out to go on, or use another --workdir"
        )
