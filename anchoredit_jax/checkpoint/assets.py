"""Weights as one safetensors file with config and lineage, and loading by any path."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.checkpoint.checksums import check_finite
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.checkpoint.safetensors_stream import (
    SafetensorsFile,
    write_safetensors,
)
from anchoredit_jax.config import run_from_json
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import check_replaceable
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.trees import digest, leaves_by_name, unflatten

log = logging.getLogger(__name__)

FILE_NAME = "model.safetensors"
FORMAT = "anchoredit_jax/1"
ASSUMED = "assumed"  # key of a file's metadata: what an importer had to assume
BESIDE = "beside"  # key of it: digests of other kinds of weights in files beside it
PUBLISHED = (".pth", ".pt", ".bin", ".ckpt")  # endings that PyTorch gives its files
IMPORT_FIRST = "import it first, with launch/convert.py import --src IT --out FOLDER"


class Weights(NamedTuple):
    """A parameter tree, the run that made it, and where it comes from."""

    params: dict[str, Any]
    run: RunConfig
    lineage: Lineage

    def __repr__(self) -> str:
        return f"<Weights {self.lineage.describe()}>"


def save_bundle(path: Path, params: Any, run: RunConfig, lineage: Lineage) -> Path:
    """Write `path` (a *.safetensors file, or a folder for `model.safetensors`).

    Tensor names are the tree's keys joined by "/" ("blocks/self_attn/q/kernel").
    The file appears whole or not at all. Returns its path.

    Raises:
      UserError: see `place_of_bundle`.
    """
    path = place_of_bundle(path)
    metadata = {
        "format": FORMAT,
        "config": run.to_json(),
        "lineage": json.dumps(lineage.to_dict()),
    }
    leaves = leaves_by_name(params)
    shapes = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        for name, leaf in leaves.items()
    }
    parts = ((name, np.asarray(jax.device_get(leaf))) for name, leaf in leaves.items())
    write_safetensors(path, shapes, parts, metadata)
    return path


def place_of_bundle(path: str | Path) -> Path:
    """The file that `save_bundle` would write.

    Raises:
      UserError: something else lies there than a weights file of ours.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        path = path / FILE_NAME
    what = "a weights file of anchoredit_jax"
    check_replaceable(path, _is_of_format, what, "name another place")
    return path


def _is_of_format(path: Path) -> bool:
    return SafetensorsFile(path).metadata.get("format") == FORMAT


def load_bundle(path: Path) -> Weights:
    """Read what `save_bundle` wrote, and check it against its digest.

    Raises:
      UserError: no such file, not one of ours, damaged, or some weights are NaN.
    """
    file = _open_bundle(path)
    checked = file.check()
    tensors = {name: file.read(name) for name in file.shapes}
    lineage = Lineage.from_json(file.metadata.get("lineage", "null"))
    params = jax.tree.map(jax.numpy.asarray, unflatten(tensors))
    if not checked and digest(params) != lineage.digest:
        raise UserError(
            f"{str(file.path)!r} is damaged: its weights do not match its digest"
        )
    check_finite(leaves_by_name(params), repr(str(file.path)))
    return Weights(params, run_from_json(file.metadata["config"]), lineage)


def bundle_lineage(path: str | Path) -> Lineage:
    """The lineage of a bundle's weights, which are not read themselves.

    Raises:
      UserError: no such file, or not one of ours.
    """
    return Lineage.from_json(_open_bundle(path).metadata.get("lineage", "null"))


def _open_bundle(path: str | Path) -> SafetensorsFile:
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    if not path.is_file():
        raise UserError(f"weights file {str(path)!r} does not exist")
    if path.suffix in PUBLISHED:
        raise UserError(f"{str(path)!r} is a file of PyTorch: {IMPORT_FIRST}")
    file = SafetensorsFile(path)
    if file.metadata.get("format") != FORMAT or "config" not in file.metadata:
        raise UserError(
            f"{str(path)!r} is not a transformer's weights file of anchoredit_jax: "
            f"expected format {FORMAT!r} in its metadata, found "
            f"{file.metadata.get('format')!r}; if it is published, {IMPORT_FIRST}"
        )
    return file


def load_weights(
    path: str | Path,
    weights: str | None = None,
    places: Callable[[Any], Any] | None = None,
) -> Weights:
    """Weights from a bundle's file, from the folder of one step, or from any other
    folder, which stands for what went through the most stages in it: the last
    checkpoint of a stage, or model.safetensors (of equals the checkpoint; it is told).

    Args:
      weights: "ema" or "params"; a bundle holds only the one it was written from. None
        is "ema", or what there is where there are no averaged ones.
      places: where a checkpoint's arrays go, see `manager.read_item`; those of a bundle
        go to the default device.

    Raises:
      UserError: nothing is there that can be read, naming what was looked for; it is
        damaged; or some weights are NaN or infinite.
    """
    if weights not in (None, "ema", "params"):
        raise UserError(f"weights must be 'ema' or 'params', given {weights!r}")
    found = resolve(path)
    if found.is_file():
        bundle = load_bundle(found)
        if weights not in (None, bundle.lineage.weights):
            raise UserError(
                f"{str(found)!r} holds the '{bundle.lineage.weights}' weights, "
                f"asked for '{weights}': give --weights {bundle.lineage.weights}"
            )
        return bundle
    step_dir, meta = found, manager.read_meta(found)
    warn_of_name(step_dir, meta)
    if weights is None:
        weights = "ema" if "ema" in manager.item_names(step_dir) else "params"
    params = manager.read_item(step_dir, weights, places)
    check_finite(leaves_by_name(params), str(step_dir), f"{weights}/")
    return Weights(
        params,
        run_from_json(meta["config"]),
        lineage_of(meta, digest(params), weights),
    )


def resolve(path: str | Path) -> Path:
    """What `load_weights` reads at a path: the file of a bundle, or a step's folder.

    Raises:
      UserError: there is neither.
    """
    path = _existing(path)
    if is_bundle(path):
        return path if path.is_file() else path / FILE_NAME
    step_dir = find_step(path)
    if (path / FILE_NAME).is_file():
        log.warning("%s", told_beside(path, step_dir))
    return step_dir


def kept_beside(path: str | Path) -> dict[str, Path]:
    """The other kinds of weights that an import wrote beside a bundle's file.

    Returns:
      "live" or "critic" -> its file.

    Raises:
      UserError: one is missing, or is that of another import.
    """
    path = Path(path)
    named = json.loads(SafetensorsFile(path).metadata.get(BESIDE, "{}"))
    files = {kind: path.parent / f"{kind}.safetensors" for kind in named}
    for kind, file in files.items():
        if bundle_lineage(file).digest != named[kind]:
            raise UserError(
                f"{str(file)!r} is not of the same import as {str(path)!r}: import "
                "both again"
            )
    return files


def is_bundle(path: str | Path) -> bool:
    """Whether `load_weights` would read a bundle there, not a checkpoint: a file, or
    one in a folder without stages that went further."""
    path = Path(path)
    if path.is_file():
        return True
    file = path / FILE_NAME
    if not os.path.lexists(file):
        return False
    step_dir = _latest(path)
    if step_dir is None:
        return True
    lineage = _lineage_in(file)
    return (
        lineage is not None and len(list(lineage.chain())) > _generation(step_dir) + 1
    )


def told_beside(folder: Path, step_dir: Path) -> str:
    """A line on a checkpoint that is read though a bundle lies in its folder."""
    return (
        f"{folder} holds stages beside {FILE_NAME}: reading the latest, {step_dir} "
        f"(name {FILE_NAME} itself for the other)"
    )


def find_import(folder: str | Path) -> tuple[Path, str] | None:
    """The bundle in a folder, whatever stages lie there, and whose result it is:
    "imported", or the stage that `launch/convert.py import --stage` named."""
    file = Path(folder) / FILE_NAME
    lineage = _lineage_in(file) if os.path.lexists(file) else None
    return None if lineage is None else (file, lineage.stage)


def has_assumed_settings(path: str | Path) -> bool:
    """Whether `load_weights` would read published weights there, whose configuration
    their import had to assume in part."""
    return is_bundle(path) and ASSUMED in _open_bundle(path).metadata


def _lineage_in(file: Path) -> Lineage | None:
    """The lineage in a transformer's file of ours; None for any other file."""
    metadata = SafetensorsFile(file).metadata
    if metadata.get("format") != FORMAT or "lineage" not in metadata:
        return None
    return Lineage.from_json(metadata["lineage"])


def is_ours(path: str | Path) -> bool:
    """Whether a file, or the one of a folder, was written by this product and is what
    the path means."""
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if file.suffix != ".safetensors" or not file.is_file():
        return False
    return SafetensorsFile(file).metadata.get("format", "") == FORMAT and is_bundle(
        path
    )


def peek(path: str | Path) -> tuple[str, int]:
    """(stage, step) of what `load_weights` would read, without reading the weights."""
    path = Path(path)
    if not path.exists() or is_bundle(path):
        lineage = bundle_lineage(path)
        return lineage.stage, lineage.step
    meta = manager.read_meta(find_step(path))
    return meta["stage"], meta["step"]


def stored_run(path: str | Path) -> RunConfig:
    """The configuration of what `load_weights` would read, without the weights."""
    path = _existing(path)
    if is_bundle(path):
        return run_from_json(_open_bundle(path).metadata["config"])
    return run_from_json(manager.read_meta(find_step(path))["config"])


def _existing(path: str | Path) -> Path:
    if not os.path.exists(path):  # nor is a name that no disk takes
        raise UserError(f"checkpoint {str(path)!r} does not exist")
    return Path(path)


def warn_of_name(step_dir: Path, meta: Mapping[str, Any]) -> None:
    """Tell if a step's folder has another name than the step that it holds."""
    if step_dir.name != str(meta.get("step", step_dir.name)):
        log.warning("%s holds step %s, by its own record", step_dir, meta["step"])


def find_step(path: Path) -> Path:
    """The step folder that a path to a checkpoint means, see `load_weights`.

    A step that lacks a part (told in a warning), such as its optimizer's state, counts
    as long as it tells what it is. One that is named may have any name.
    """
    path = Path(path)
    if manager.is_step(path):
        missing = manager.missing_items(path)
        if missing is None or manager.RECORD in missing:
            raise UserError(
                f"{str(path)!r} was not saved completely, or its {manager.RECORD} is "
                "lost or damaged: name another step"
            )
        if manager.META in missing:
            raise UserError(
                f"{str(path)!r} lacks its {manager.META!r}, which tells what its "
                "weights are: name another step"
            )
        if missing:
            log.warning("%s lacks %s: reading the rest", path, ", ".join(missing))
        return path
    if (found := _latest(path)) is not None:
        return found
    renamed = [
        folder.name
        for place in _folders(path)
        for folder in sorted(place.glob("*/"))
        if manager.is_step(folder) and not folder.name.isdecimal()
    ]
    told = f"; but {', '.join(renamed)} holds one: name that folder" if renamed else ""
    if not told and any(f.suffix in (".safetensors", *PUBLISHED) for f in _files(path)):
        told = f"; if these weights are published, {IMPORT_FIRST}"
    raise UserError(
        f"no checkpoint in {str(path)!r}: expected {FILE_NAME}, a stage's folder, a "
        f"checkpoints folder or a folder of one committed step{told}"
    )


def with_step(path: str | Path, step: int | None) -> Path:
    """The path itself, or of the checkpoints that it means the one of this step.

    Raises:
      UserError: there is none of it.
    """
    if step is None:
        return Path(path)
    folder = find_step(_existing(path)).parent
    if not manager.is_committed(folder / str(step)):
        there = ", ".join(str(one) for one in manager.committed_steps(folder))
        raise UserError(f"--step {step}: {folder} has no such step (there: {there})")
    return folder / str(step)


def _latest(path: Path) -> Path | None:
    """The last readable step of the furthest stage in a folder."""
    found = [
        folder / str(step)
        for folder in _folders(path)
        if (step := manager.last_readable(folder)) is not None
    ]
    if len(found) < 2:  # one of which something is damaged is the one that is meant
        return found[0] if found else None
    return max(found, key=_generation)


def _folders(path: Path) -> list[Path]:
    """Where steps may lie that a path means."""
    folders = [path, path / "checkpoints"]
    if path.is_dir() and not os.path.lexists(folders[1]):
        folders += [one / "checkpoints" for one in sorted(path.iterdir())]
    return folders


def _files(path: Path) -> list[Path]:
    return [*path.glob("*.*"), *path.glob("transformer*/*.*")]


def make_meta(
    stage: str,
    step: int,
    run: RunConfig,
    parent: Lineage | None,
    content: Mapping[str, str] | None = None,
    history: Mapping[str, Any] | None = None,
) -> dict:
    """What the loop stores beside a state, and `load_weights` reads back.

    Args:
      content: digests of what the run reads, see `training/content.py`.
      history: how it was steered, see `training/steering.py`.
    """
    return {
        **(history or {}),
        "content": dict(content or {}),
        "stage": stage,
        "step": step,
        "config": run.to_json(),
        "parent": parent.to_dict() if parent else None,
    }


def parent_of(meta: dict) -> Lineage | None:
    """The parent's lineage in a checkpoint's metadata."""
    return Lineage.from_dict(meta["parent"]) if meta.get("parent") else None


def _generation(step_dir: Path) -> int:
    """How many stages led to a checkpoint."""
    parent = parent_of(manager.read_meta(step_dir))
    return len(list(parent.chain())) if parent else 0


def lineage_of(meta: dict, weights_digest: str, weights: str) -> Lineage:
    """The lineage of a checkpoint's weights, from what is stored beside them."""
    return Lineage(
        stage=meta["stage"],
        step=meta["step"],
        digest=weights_digest,
        config=json.loads(meta["config"]),
        parent=parent_of(meta),
        weights=weights,
        changes=tuple(meta.get("changes", ())),
    )
