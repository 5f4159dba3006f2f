"""PyTorch files of weights: a state dict, or a training checkpoint of the reference."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anchoredit_jax.checkpoint.safetensors_stream import SafetensorsFile
from anchoredit_jax.convert.published_files import COPIES, STATES
from anchoredit_jax.convert.source import Source
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import appearing

Writer = Callable[[Path, Source], None]


def write_states(
    out: Path,
    sources: Mapping[str, Source],
    write: Writer,
    told: Mapping[str, str] | None,
) -> None:
    """A state dict (of the only source, under ""), or a training checkpoint of several.

    A checkpoint of the reference without `generator` is read by none of its loaders
    unless they are told to take the average: one of the average alone has it twice.

    PyTorch saves what it is given at once: tensors go through a file beside `out`, out
    of which they are mapped.

    Args:
      write: writes a source as a safetensors file.
      told: metadata of a training checkpoint.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise UserError(
            f"writing {str(out)!r} needs PyTorch: pip install torch, or name a "
            "*.safetensors file"
        ) from error
    states: dict[str, dict[str, Any]] = {}
    with (
        appearing(out) as temporary,
        tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch,
    ):
        for kind, source in sources.items():
            file = Path(scratch, kind or "weights")
            write(file, source)
            prefix = "model." if kind else ""
            states[kind] = _mapped(SafetensorsFile(file), prefix, torch)
        saved: dict[str, Any] = states.get("", {})
        if not saved:
            saved = {STATES[kind]: state for kind, state in states.items()}
            metadata = dict(told or {})
            if "live" not in states and "ema" in states:
                saved[STATES["live"]] = states["ema"]
                metadata[COPIES] = "live"
            first = next(iter(sources.values()))
            saved |= {"step": first.step or 0, "metadata": metadata}
        torch.save(saved, temporary)


def _mapped(file: SafetensorsFile, prefix: str, torch: Any) -> dict[str, Any]:
    tensors = {}
    for name, shape in file.shapes.items():
        array = file.map(name)
        if np.dtype(shape.dtype).name == "bfloat16":
            tensor = torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
        else:
            tensor = torch.from_numpy(array)
        tensors[prefix + name] = tensor
    return tensors
