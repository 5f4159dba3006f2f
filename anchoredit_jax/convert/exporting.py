"""Weights to published files of any dialect, a tensor at a time."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from anchoredit_jax.checkpoint.assets import ASSUMED
from anchoredit_jax.checkpoint.checksums import check_finite
from anchoredit_jax.checkpoint.safetensors_stream import nbytes, write_safetensors
from anchoredit_jax.choices import DIALECTS
from anchoredit_jax.convert.card import CARD, check_card, losses, write_card
from anchoredit_jax.convert.importing import DTYPES
from anchoredit_jax.convert.published_files import INDEX
from anchoredit_jax.convert.source import Source
from anchoredit_jax.convert.state_files import write_states
from anchoredit_jax.convert.tensor_files import PICKLES
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import appearing, write_json
from anchoredit_jax.version import __version__

SHARD_SIZE = 5 * 10**9

Progress = Callable[[int], None]
Shapes = Mapping[str, jax.ShapeDtypeStruct]


def export_weights(
    sources: Mapping[str, Source],
    dialect: str,
    out: str | Path,
    *,
    dtype: str | None = None,
    shard_size: int = SHARD_SIZE,
    allow_loss: bool = False,
    progress: Progress = lambda done: None,
) -> Path:
    """Write weights under published names; what is written appears whole or not at all.

    A card with all settings and the lineage lies beside them: README.md and
    anchoredit.json, of a single file with its name before theirs.

    Args:
      sources: the weights under "ema", "live" or "critic"; only a checkpoint of the
        dialect "anchoredit" takes several.
      dialect: "wan" (a folder, or a *.safetensors or *.pth file), "diffusers" (a folder
        that `from_pretrained` loads) or "anchoredit" (a *.pt file of a transformer).
      dtype: "float32" or "bfloat16"; None keeps that of the weights.
      shard_size: bytes of a file in a folder; larger models get several and an index.
      allow_loss: write weights with settings that the dialect cannot hold, too.
      progress: called with the bytes of every tensor that is written.

    Returns:
      `out`.

    Raises:
      UserError: `out` exists, has the wrong ending for the dialect, or a wrong option;
        the dialect cannot hold a setting; the weights are damaged, NaN or infinite.
    """
    out = Path(out)
    source = next(iter(sources.values()))
    if dialect not in DIALECTS:
        raise UserError(f"dialect must be one of {DIALECTS}, given {dialect!r}")
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, given {dtype!r}")
    if shard_size < 1:
        raise UserError(f"the size of a shard must be positive, given {shard_size}")
    if out.exists() or out.is_symlink():
        raise UserError(f"{str(out)!r} exists: remove it or name another path")
    check_card(out.parent, f"{out.name}.")

    def writer(path: Path, one: Source) -> None:
        _write(path, one, "wan", _shapes(one, "wan", dtype), progress)

    lost = check_losses(source, dialect, allow_loss)
    for one in sources.values():
        one.check_whole()
    if dialect == "anchoredit":
        if source.network.name != "transformer" or out.suffix not in PICKLES:
            raise UserError(
                "the dialect 'anchoredit' is a PyTorch checkpoint of a transformer: "
                f"expected --out with the ending .pt, given {str(out)!r} for a "
                f"{source.network.name}"
            )
        named = {kind or "live": one for kind, one in sources.items()}
        told = describe_weights(source, dialect)
        write_states(out, named, writer, told)
    elif out.suffix in PICKLES:
        if dialect != "wan":
            raise UserError("diffusers reads folders: leave the ending of --out away")
        write_states(out, {"": source}, writer, None)
    elif out.suffix == ".safetensors":
        shapes = _shapes(source, dialect, dtype)
        _write(out, source, dialect, shapes, progress)
    else:
        with appearing(out) as temporary:
            _write_folder(temporary, source, dialect, dtype, shard_size, progress)
            write_card(temporary, "", source, dialect, lost)
        return out
    write_card(out.parent, f"{out.name}.", source, dialect, lost)
    return out


def check_losses(source: Source, dialect: str, allow_loss: bool) -> list[str]:
    """The settings that an export loses, if that is allowed.

    Raises:
      UserError: it is not; all are named.
    """
    lost = losses(source)
    if lost and not allow_loss:
        raise UserError(
            f"the dialect {dialect!r} cannot hold {'; '.join(lost)}: code that knows "
            "nothing of it loads the weights and computes something else. Give "
            f"--allow-loss to write them all the same, with a {CARD} that tells it"
        )
    return lost


def describe_weights(source: Source, dialect: str) -> dict[str, str]:
    """What a user of the export needs to know to run the weights right."""
    told: dict[str, Any] = {
        "format": "pt",
        "anchoredit_jax": __version__,
        "network": source.network.name,
        "dialect": dialect,
    }
    if source.weights:
        told["weights"] = source.weights
    if source.step is not None:
        told["step"] = source.step
    if source.lineage is not None:
        lineage = source.lineage
        if not lineage.digest:
            lineage = dataclasses.replace(lineage, digest=weights_digest(source))
        told |= {
            "stage": lineage.stage,
            "lineage": lineage.digest,
            "lineage_record": json.dumps(lineage.to_dict()),
        }
    if source.run is not None:
        model, memory, sampler = source.run.model, source.run.memory, source.run.sampler
        told |= {
            "temporal_stride": model.temporal_stride,
            "spatial_stride": model.spatial_stride,
            "source_prompt": model.source_prompt,
            "prediction": model.prediction,
            "memory": json.dumps(vars(memory)),
            "sampler": json.dumps(vars(sampler)),
            "config": source.run.to_json(),
        }
    if source.assumptions:
        told[ASSUMED] = json.dumps(source.assumptions)
    return {key: str(value) for key, value in told.items()}


def weights_digest(source: Source) -> str:
    """`checkpoint.digest` of a source's leaves, one in memory at a time."""
    sha = hashlib.sha256()
    for name, leaf in sorted(source.leaves.items()):
        sha.update(f"{name} {leaf.shape} {np.dtype(leaf.dtype).name}\n".encode())
        for part in source.parts(name):
            sha.update(np.ascontiguousarray(part).tobytes())
    return sha.hexdigest()[:16]


def _shapes(source: Source, dialect: str, dtype: str | None) -> Shapes:
    table = source.network.table(source.config)
    published = table.shapes(dialect, source.leaves)
    return {
        piece.theirs: jax.ShapeDtypeStruct(
            published[piece.theirs],
            DTYPES[dtype] if dtype else source.leaves[piece.ours].dtype,
        )
        for piece in source.pieces(dialect)
    }


def _write(
    path: Path,
    source: Source,
    dialect: str,
    shapes: Shapes,
    progress: Progress,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """The tensors named in `shapes` as one file, in their dtypes."""

    def parts() -> Iterator[tuple[str, np.ndarray]]:
        for name, tensor in source.published(dialect, shapes):
            check_finite({name: tensor}, repr(str(source.path)))
            yield name, tensor.astype(shapes[name].dtype, copy=False)
            progress(nbytes(shapes[name]))

    metadata = metadata or describe_weights(source, dialect)
    write_safetensors(path, shapes, parts(), metadata)


def _write_folder(
    out: Path,
    source: Source,
    dialect: str,
    dtype: str | None,
    shard_size: int,
    progress: Progress,
) -> None:
    out.mkdir()
    metadata = describe_weights(source, dialect)
    shards = _shards(_shapes(source, dialect, dtype), shard_size)
    name = source.network.files[dialect]
    stem, where = name.removesuffix(".safetensors"), {}
    for number, shapes in enumerate(shards, 1):
        if len(shards) > 1:
            name = f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        _write(out / name, source, dialect, shapes, progress, metadata)
        where |= dict.fromkeys(shapes, name)
    if len(shards) > 1:
        size = sum(nbytes(x) for shard in shards for x in shard.values())
        index = {"metadata": {"total_size": size}, "weight_map": where}
        write_json(out / f"{stem}{INDEX}", index, indent=2)
    if config := source.network.published(source.config, dialect):
        write_json(out / "config.json", config, indent=2)


def _shards(shapes: Shapes, size: int) -> list[dict[str, jax.ShapeDtypeStruct]]:
    shards: list[dict] = [{}]
    filled = 0
    for name, tensor in shapes.items():
        if shards[-1] and filled + nbytes(tensor) > size:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += nbytes(tensor)
    return shards
