"""What a stage starts from: its parent's weights, found, checked and widened."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.checkpoint.assets import Weights
from anchoredit_jax.checkpoint.lineage import Lineage, check_parent
from anchoredit_jax.config import differing_keys
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import state_shardings
from anchoredit_jax.parallel.sharded import put
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.stage import IMPORTED
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.strict import OF_THE_WEIGHTS

# Trees beside the weights that a stage of the same kind, or the next one, goes on with.
KEPT = ("teacher", "critic")
Places = Callable[[Any], Any] | None  # a tree -> where its arrays go


def find_parent(
    run: RunConfig,
    workdir: str | Path,
    parent: str | Path | Weights | None,
    mesh: Mesh | None = None,
) -> tuple[Weights | None, dict[str, Any] | None]:
    """What a fresh run of `run.stage` starts from.

    Args:
      mesh: where it goes, each part read by the processes that hold it.

    Without a `parent` it is what this stage can follow in `workdir`.

    Returns:
      (the EMA weights with their lineage, the trees by name that `init_state` takes:
      "params", "ema", and those of `KEPT` that the parent has); or (None, None).

    Raises:
      UserError: missing, of a stage that this one cannot follow, of another model,
        without the teacher that this one goes on with, or nothing is there and the
        stage is not to start from random values.
    """
    allowed = STAGES[run.stage].parents
    if parent is None:
        parent = find_in_workdir(Path(workdir), run.stage)
    places = mesh and functools.partial(state_shardings, mesh=mesh)
    found = None
    if parent is None or isinstance(parent, Weights):
        weights = parent
    else:
        found = assets.resolve(parent)
        weights = assets.load_weights(found, places=places)
    check_parent(run.stage, allowed, weights.lineage if weights else None)
    if weights is None:
        _check_from_scratch(run)
        return None, None
    _check_fits(run, weights)
    params = _put(weights.params, places)
    trees = {"params": params, "ema": params}
    if found is not None:
        trees |= _read_kept(found, places)
    stage = weights.lineage.stage
    needing = STAGES[run.stage].with_teacher
    if stage in needing and "teacher" not in trees:
        raise UserError(
            f"{run.stage} goes on with the teacher of a {stage} stage, which only a "
            "training checkpoint holds: name that with --parent, not a file of weights"
        )
    return weights, trees


def _check_fits(run: RunConfig, weights: Weights) -> None:
    """UserError where the weights are not those of the run's model."""
    imported = weights.lineage.stage == IMPORTED
    # Published weights do not tell what they were used with.
    decides = ("geometry",) if imported else OF_THE_WEIGHTS
    differing = [
        key
        for key in differing_keys(run, weights.run, decides)
        if key.startswith("model.") or not imported
    ]
    if differing:
        raise UserError(
            f"stage {run.stage} cannot start from this {weights.lineage.stage} "
            f"checkpoint, it differs in {', '.join(differing)}"
        )


def _read_kept(found: Path, places: Places) -> dict[str, Any]:
    """Trees by name that lie beside the weights of a step's folder or a file."""
    if found.is_file():
        return {
            {"live": "params"}.get(kind, kind): _put(
                assets.load_bundle(file).params, places
            )
            for kind, file in assets.kept_beside(found).items()
        }
    names = {"params", *KEPT}.intersection(manager.item_names(found))
    return {name: manager.read_item(found, name, places) for name in names}


def _put(params: Any, places: Places) -> Any:
    """Weights as they are trained, which may be stored narrower, where they belong."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    return params if places is None else jax.tree.map(put, params, places(params))


def find_in_workdir(workdir: Path, stage: str) -> Path | None:
    """What a stage starts from in a workdir: the result of the first stage that it may
    follow, as checkpoints or as model.safetensors, in the workdir or a stage's folder.

    Raises:
      UserError: weights lie there that it cannot start from: it is not to start from
        random values beside them.
    """
    allowed = STAGES[stage].parents
    folders = [workdir, *(workdir / name for name in dict.fromkeys((stage, *allowed)))]
    bundles = [found for found in map(assets.find_import, folders) if found is not None]
    for parent in allowed:
        if manager.latest_step(workdir / parent / "checkpoints") is not None:
            return workdir / parent
        for file, made_by in bundles:
            if made_by == parent:
                return file
    if bundles:
        file, made_by = bundles[0]
        raise UserError(
            f"{str(file)!r} is a result of {made_by}, which stage {stage} does not "
            f"follow (but {' or '.join(allowed) or 'nothing'}): name what it starts "
            "from with --parent, or use a --workdir without that file"
        )
    return None


def named_parent(
    parent: str | Path | Weights | None, workdir: str | Path
) -> str | Path | Weights | None:
    """A parent as it was named; the workdir itself is as good as none: a stage starts
    from what it can follow there, and goes on under the same command."""
    named = isinstance(parent, str | Path)
    if named and os.path.realpath(parent) == os.path.realpath(workdir):
        return None
    return parent


def _check_from_scratch(run: RunConfig) -> None:
    """UserError unless the stage may start from random values."""
    if not getattr(run.options, "from_scratch", True):
        raise UserError(
            f"stage {run.stage} of this configuration starts from imported weights, "
            "and there are none: import them into the workdir (launch/convert.py "
            "import), name them with --parent, or ask for random values by "
            "options.from_scratch=true"
        )


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
