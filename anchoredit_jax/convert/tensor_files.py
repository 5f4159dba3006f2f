"""Tensors by name from the files that weights are published in."""

from pathlib import Path
from pickle import UnpicklingError

import numpy as np
from safetensors import SafetensorError, safe_open

from anchoredit_jax.errors import UserError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of a file, as float32; pickles are read as tensors only.

    Args:
      path: *.safetensors, or a PyTorch file (*.pth, *.pt, *.bin), which needs torch.

    Raises:
      UserError: no such file, another kind of file, or one that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"weights file {str(path)!r} does not exist")
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"weights file {str(path)!r}: expected one of {', '.join(SUFFIXES)}"
        )
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="flax") as reader:  # numpy has no bfloat16
                return {k: np.asarray(reader.get_tensor(k), np.float32)
                        for k in reader.keys()}  # fmt: skip
        except (SafetensorError, OSError) as error:
            raise UserError(f"{str(path)!r} is no safetensors file: {error}") from error
    return _read_pickle(path)


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"reading {str(path)!r} needs PyTorch: install anchoredit_jax[torch], or "
            "give a *.safetensors file"
        ) from error
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{str(path)!r} is no file of tensors: {reason}") from error
    if not isinstance(tensors, dict) or not all(map(torch.is_tensor, tensors.values())):
        raise UserError(f"{str(path)!r}: expected a dict from names to tensors")
    return {key: tensor.float().numpy() for key, tensor in tensors.items()}
