"""Published weights to a file of ours, a layer at a time."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax.checkpoint import assets
from anchoredit_jax.checkpoint.checksums import check_finite
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.checkpoint.safetensors_stream import PENDING, write_safetensors
from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.convert.published_run import published_run
from anchoredit_jax.convert.source import Source
from anchoredit_jax.errors import UserError
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.stage import IMPORTED

DTYPES = {"float32": np.float32, "bfloat16": jnp.bfloat16}


def import_weights(
    source: Source,
    out: str | Path,
    *,
    dtype: str | None = None,
    stage: str | None = None,
    run: RunConfig | None = None,
    vae: str | Path | None = None,
    text: str | Path | None = None,
    beside: Mapping[str, str] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Path:
    """Write what `source` holds as a file of ours, which appears whole or not at all.

    Args:
      out: a *.safetensors file, or a folder for `model.safetensors`.
      dtype: "float32" or "bfloat16"; None keeps that of the source.
      stage: which stage the weights are the result of, as far as the next one is
        concerned; by default what an export of ours says, else "imported".
      run: configuration to store with a transformer; by default that of an export of
        ours, else see `published_run`, to which `vae` and `text` go. What that had to
        assume is stored too: `assumptions` of the opened file.
      beside: digests of other kinds of the same weights, see `import_kinds`.
      progress: called with the bytes of every part that is written.

    Raises:
      UserError: the configuration is of another geometry, an unknown dtype, what
        `published_run` refuses, or the weights are damaged, NaN or infinite.
    """
    source.check_whole()
    out = assets.place_of_bundle(out)
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, given {dtype!r}")
    shapes = {
        name: jax.ShapeDtypeStruct(
            source.leaves[name].shape, DTYPES[dtype] if dtype else leaf.dtype
        )
        for name, leaf in sorted(source.leaves.items())
    }
    metadata = {"format": assets.FORMAT, "network": source.network.name}
    digest_key = None
    if source.network.name == "transformer":
        assumed: Sequence[str] = ()
        if run is not None or source.run is not None:
            assumed = () if run is not None else source.assumptions
            run = _fitting(run or source.run, source)
        else:
            run, assumed = published_run(source, vae, text)
        before = source.lineage
        lineage = Lineage(
            stage or (before.stage if before else IMPORTED),
            source.step or 0,
            PENDING,
            json.loads(run.to_json()),
            before.parent if before else None,
            {"live": "params"}.get(source.weights or "ema", source.weights or "ema"),
            before.changes if before else (),
        )
        digest_key = "lineage"
        metadata |= {
            "config": run.to_json(),
            "lineage": json.dumps(lineage.to_dict()),
        }
        if beside:
            metadata[assets.BESIDE] = json.dumps(beside)
        if assumed:
            metadata[assets.ASSUMED] = json.dumps(assumed)
    else:
        metadata["config"] = json.dumps(vars(source.config))

    def parts() -> Iterator[tuple[str, np.ndarray]]:
        for name, leaf in shapes.items():
            for part in source.parts(name):
                check_finite({name: part}, repr(str(source.path)))
                part = part.astype(leaf.dtype, copy=False)
                yield name, part
                progress(part.nbytes)

    write_safetensors(out, shapes, parts(), metadata, digest_key)
    return out


def import_kinds(
    sources: Mapping[str | None, Source], folder: str | Path, **options: Any
) -> Path:
    """Write all that a training run goes on with: model.safetensors of the first
    source, and beside it a file for each other one ("live.safetensors").

    Args:
      sources: of one checkpoint, by kind; the one that is edited with comes first.
      options: of `import_weights`.
    """
    folder = Path(folder)
    first, *others = sources.items()
    for place in (folder, *(folder / f"{kind}.safetensors" for kind, _ in others)):
        assets.place_of_bundle(place)
    digests = {}
    for kind, source in others:
        file = import_weights(source, folder / f"{kind}.safetensors", **options)
        digests[str(kind)] = assets.bundle_lineage(file).digest
    return import_weights(first[1], folder, beside=digests, **options)


def _fitting(run: RunConfig, source: Source) -> RunConfig:
    """`run`, if it is of the weights' geometry."""
    expected = NETWORKS["transformer"].leaves(run.model)
    shapes = {name: leaf.shape for name, leaf in expected.items()}
    given = {name: leaf.shape for name, leaf in source.leaves.items()}
    other_heads = run.model.num_heads != source.config.num_heads
    if shapes != given or (source.heads_told and other_heads):
        sizes = ("dim", "ffn_dim", "num_heads", "num_layers", "channels", "text_dim")
        told = [
            ", ".join(f"{size} {getattr(model, size)}" for size in sizes)
            for model in (run.model, source.config)
        ]
        raise UserError(
            f"the configuration is of another geometry ({told[0]}) than the weights "
            f"({told[1]})"
        )
    return run
