"""Saying in words what a weights file holds."""

import collections
import json

import numpy as np

from anchoredit_jax.checkpoint.assets import ASSUMED
from anchoredit_jax.checkpoint.checksums import check_finite
from anchoredit_jax.checkpoint.safetensors_stream import nbytes
from anchoredit_jax.convert.networks import preset_of
from anchoredit_jax.convert.source import Source
from anchoredit_jax.run_config import RunConfig


def describe(source: Source) -> str:
    """Kind, sizes, dtypes and origin, a line each; no tensor is read."""
    dtypes: dict[str, int] = collections.Counter()
    for leaf in source.leaves.values():
        dtypes[np.dtype(leaf.dtype).name] += nbytes(leaf)
    tensors = sum(1 for _ in source.pieces())
    config = {
        key: value
        for key, value in vars(source.config).items()
        if isinstance(value, int) and not isinstance(value, bool)
    }
    lines = [
        f"path: {source.path}",
        f"network: {source.network.name}",
        f"dialect: {source.dialect}",
        f"tensors: {tensors}, {source.count:,} parameters",
        f"size: {source.nbytes / 1e9:.3f} GB",
        "dtypes: "
        + ", ".join(f"{name} {size / 1e9:.3f} GB" for name, size in dtypes.items()),
        "sizes: " + ", ".join(f"{key} {value}" for key, value in config.items()),
    ]
    if source.network.name == "transformer" and (preset := preset_of(source.config)):
        lines.append(f"preset: {preset}")
    if source.weights:
        lines.append(f"weights: {source.weights}")
    if len(source.kinds) > 1:
        lines.append(f"kinds of weights: {', '.join(source.kinds)}")
    kept = {"array": "of every array", "file": "of every file", None: "none"}
    told = f"digests: {kept[source.digests]}"
    lines.append(told if source.digests else f"{told} (damage cannot be told)")
    if source.step is not None:
        lines.append(f"step: {source.step}")
    if source.lineage is not None:
        lines.append(f"lineage: {source.lineage.describe()}")
        lines += [f"changed: {line}" for line in source.lineage.describe_changes()]
    if source.run is not None:
        lines.append(f"edits: {_settings_of(source.run)}")
    lines += [f"assumed: {line}" for line in source.assumptions]
    if source.dialect != "anchoredit_jax":
        long = ("config", "lineage_record", ASSUMED)  # told above, in few words
        told = {k: v for k, v in source.metadata.items() if k not in long}
        lines += [f"metadata: {json.dumps(told, sort_keys=True)}"] if told else []
    return "\n".join(lines)


def check(source: Source) -> str:
    """Read all that lies there, and say what it was compared with.

    Raises:
      UserError: it is damaged, or some weights are NaN or infinite.
    """
    source.check()
    for name, tensor in source.published("wan"):
        check_finite({name: tensor}, repr(str(source.path)))
    if source.digests is None:
        return "checked: all numbers are finite; no digests to compare with"
    return f"checked: as written, by a digest of every {source.digests}; all finite"


def _settings_of(run: RunConfig) -> str:
    sampler, memory = run.sampler, run.memory
    levels = f"{sampler.steps} steps, shift {sampler.shift:g}"
    if sampler.timesteps is not None:
        levels = "timesteps " + "/".join(f"{t:g}" for t in sampler.timesteps)
    window = "full history" if memory.window is None else f"window {memory.window}"
    return (
        f"{run.data.size} px, {run.model.dtype}, {sampler.kind}, {levels}, guidance "
        f"{sampler.guidance:g}, sink {memory.sink}, {window}, {memory.positions}"
    )
