"""Tensors by name from published weight files, dtypes kept (bfloat16 included)."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from anchoredit_jax.errors import UserError

SUFFIXES = (".safetensors", ".pth", ".bin")


def read_tensors(paths: Sequence[str | Path]) -> dict[str, np.ndarray]:
    """All tensors of the files, which together are one model.

    A PyTorch file (.pth, .bin) is read as tensors only: a pickle that holds anything
    else is refused, not run. It needs `torch`.

    Raises:
      UserError: a file is missing, damaged or of another kind, two files hold the same
        name, or `torch` is needed and not installed.
    """
    tensors: dict[str, np.ndarray] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise UserError(f"weights file {str(path)!r} does not exist")
        if path.suffix not in SUFFIXES:
            raise UserError(
                f"weights file {str(path)!r}: expected one of {', '.join(SUFFIXES)}"
            )
        read = _read_safetensors if path.suffix == ".safetensors" else _read_torch
        for name, tensor in read(path).items():
            if name in tensors:
                raise UserError(
                    f"tensor {name!r} is in {str(path)!r} and in another file beside "
                    "it: keep the files of one variant of the model only"
                )
            tensors[name] = tensor
    return tensors


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, framework="numpy") as reader:
            return {name: reader.get_tensor(name) for name in reader.keys()}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{str(path)!r} is no safetensors file: {error}") from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise UserError(
            f"reading {str(path)!r} needs PyTorch: pip install torch, or convert the "
            "file to safetensors"
        ) from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{str(path)!r} cannot be read as a PyTorch file of tensors: {reason}"
        ) from error
    odd = not isinstance(loaded, dict) or [
        name for name, tensor in loaded.items() if not isinstance(tensor, torch.Tensor)
    ]
    if odd:
        raise UserError(f"{str(path)!r} is no state dict: expected tensors by name")
    return {name: _to_numpy(tensor) for name, tensor in loaded.items()}


def _to_numpy(tensor) -> np.ndarray:
    """A torch tensor's bits; numpy alone has no bfloat16."""
    import torch

    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(jnp.bfloat16)
    return tensor.numpy()
