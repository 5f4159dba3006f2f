"""Tensors by name from published weight files, each read when it is asked for.

Dtypes are kept, bfloat16 included. Wrapper names that training leaves inside of keys
are removed wherever they stand.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax.checkpoint import assets
from anchoredit_jax.checkpoint.safetensors_stream import (
    DTYPES,
    NAMES,
    SafetensorsFile,
    refuse_other_file,
)
from anchoredit_jax.convert.name_map import listed
from anchoredit_jax.convert.other_files import refuse_dtype
from anchoredit_jax.convert.wrapped_states import unwrapped
from anchoredit_jax.errors import UserError

PICKLES = assets.PUBLISHED
SUFFIXES = (".safetensors", *PICKLES)
# torch.compile, DistributedDataParallel, FSDP and activation checkpointing.
WRAPPERS = (
    "_orig_mod",
    "module",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
)


class Tensors(Mapping[str, np.ndarray]):
    """Tensors by name; looking one up reads it.

    Attributes:
      shapes: name -> `jax.ShapeDtypeStruct`, without reading.
      metadata: what the files say of themselves.
      files: those in safetensors, which may have digests.
    """

    def __init__(
        self,
        shapes: Mapping[str, jax.ShapeDtypeStruct],
        read: Callable[[str], np.ndarray],
        metadata: Mapping[str, str] | None = None,
        files: Sequence[SafetensorsFile] = (),
    ):
        self.shapes = dict(shapes)
        self.metadata = dict(metadata or {})
        self.files = tuple(files)
        self._read = read

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.shapes:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def without(self, name: str) -> "Tensors":
        """The same tensors without the one of this name."""
        shapes = {other: s for other, s in self.shapes.items() if other != name}
        return Tensors(shapes, self._read, self.metadata, self.files)

    def under(self, prefix: str) -> "Tensors":
        """The tensors whose names begin with `prefix`, without it."""
        names = [name for name in self.shapes if name.startswith(prefix)]
        shapes = {name.removeprefix(prefix): self.shapes[name] for name in names}
        return Tensors(
            shapes, lambda name: self._read(prefix + name), self.metadata, self.files
        )

    def renamed(self, change: Callable[[str], str]) -> "Tensors":
        """The same tensors under other names.

        Raises:
          UserError: two of them would have one name.
        """
        before: dict[str, str] = {}
        for name in self.shapes:
            new = change(name)
            if new in before:
                raise UserError(
                    f"tensors {before[new]!r} and {name!r} are both {new!r} without "
                    "their wrapper names: keep one of them"
                )
            before[new] = name
        shapes = {new: self.shapes[name] for new, name in before.items()}
        return Tensors(
            shapes, lambda new: self._read(before[new]), self.metadata, self.files
        )


def as_tensors(tensors: Mapping[str, np.ndarray]) -> Tensors:
    """Arrays by name as `Tensors`."""
    if isinstance(tensors, Tensors):
        return tensors
    shapes = {
        name: jax.ShapeDtypeStruct(tensor.shape, tensor.dtype.newbyteorder("="))
        for name, tensor in tensors.items()
    }
    return Tensors(shapes, lambda name: np.array(tensors[name], shapes[name].dtype))


def strip_wrappers(name: str) -> str:
    """A parameter's name without the names of modules that were wrapped around it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def open_tensors(paths: Sequence[str | Path]) -> Tensors:
    """Open all tensors of the files, which together are one model.

    Raises:
      UserError: a file is missing, damaged or of another kind, two files hold the same
        name, or `torch` is needed and not installed. See `read_pickle`.
    """
    where: dict[str, Tensors] = {}
    files: list[SafetensorsFile] = []
    metadata: dict[str, str] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise UserError(f"weights file {str(path)!r} does not exist")
        refuse_other_file(path)
        if path.suffix not in SUFFIXES:
            raise UserError(
                f"weights file {str(path)!r}: expected one of {', '.join(SUFFIXES)}"
            )
        part = _open_one(path)
        for name in part:
            if name in where:
                raise UserError(
                    f"tensor {name!r} is in {str(path)!r} and in another file beside "
                    "it: keep the files of one variant of the model only"
                )
            where[name] = part
        metadata.update(part.metadata)
        files += part.files
    shapes = {name: part.shapes[name] for name, part in where.items()}
    together = Tensors(shapes, lambda name: where[name][name], metadata, files)
    return together.renamed(strip_wrappers)


def open_index(path: str | Path) -> Tensors:
    """The tensors of a model in shards, from its `*.index.json`.

    Raises:
      UserError: the index is damaged, a shard is not there, or the shards do not hold
        exactly the tensors that the index puts into them.
    """
    path = Path(path)
    try:
        shard_of = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(shard_of.values()))
    except (
        OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError,
        AttributeError,
    ) as error:  # fmt: skip
        raise UserError(
            f"{str(path)!r} is no index of shards: expected a JSON object with a "
            f"'weight_map' from tensors to files ({type(error).__name__}: {error})"
        ) from error
    if any(not isinstance(s, str) or Path(s).name != s for s in shards):
        raise UserError(f"{str(path)!r} names shards outside of its folder")
    gone = [shard for shard in shards if not (path.parent / shard).is_file()]
    if gone:
        raise UserError(
            f"{str(path)!r} names {len(shards)} shards, these are not beside it: "
            f"{listed(gone)}; download them again"
        )
    tensors = open_tensors([path.parent / shard for shard in shards])
    named = {strip_wrappers(name) for name in shard_of}
    missing = sorted(named - set(tensors))
    extra = sorted(set(tensors) - named)
    if missing or extra:
        raise UserError(
            f"the shards of {str(path)!r} are not those that it was made for; missing: "
            f"{listed(missing)}; unexpected: {listed(extra)}"
        )
    return tensors


def read_pickle(path: str | Path) -> dict:
    """What a PyTorch file holds, read as tensors and plain containers only.

    Tensors stay in the file until they are used.

    Raises:
      UserError: `torch` is not installed, the file is damaged, or it is a pickle that
        holds anything else: such a file can run code, and is refused, not run.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise UserError(
            f"reading {str(path)!r} needs PyTorch: pip install torch, or convert the "
            "file to safetensors"
        ) from error
    refuse_other_file(path)
    mapped = zipfile.is_zipfile(path)  # files of before PyTorch 1.6 are none
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if other := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise UserError(
                f"{str(path)!r} holds {other[1]} beside tensors, which is refused, "
                "since it could run code: save its tensors alone (torch.save of the "
                "state dict) where you trust it"
            ) from error
        raise _unreadable(path, error) from error
    except (
        ArithmeticError, AssertionError, AttributeError, EOFError, LookupError,
        MemoryError, OSError, RuntimeError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise _unreadable(path, error) from error
    if not isinstance(loaded, dict):
        raise UserError(f"{str(path)!r} is no state dict: expected tensors by name")
    return loaded


def _unreadable(path: Path | str, error: Exception) -> UserError:
    reason = " ".join(str(error).partition("\n")[0].split()) or type(error).__name__
    return UserError(
        f"{str(path)!r} cannot be read as a PyTorch file, it is damaged or of another "
        f"kind ({reason}): fetch it again"
    )


def pickled_tensors(path: str | Path, loaded: dict) -> Tensors:
    """A state dict of torch tensors as `Tensors`.

    Raises:
      UserError: it holds something that is no tensor.
    """
    import torch

    odd = [name for name, x in loaded.items() if not isinstance(x, torch.Tensor)]
    if odd or not loaded:
        raise UserError(
            f"{str(path)!r} is no state dict: expected tensors by name, found "
            + (f"something else at {listed(sorted(map(str, odd)))}" if odd else "none")
        )
    shapes = {}
    for name, tensor in loaded.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in NAMES:
            refuse_dtype(name, dtype, NAMES)
        shapes[name] = jax.ShapeDtypeStruct(tuple(tensor.shape), DTYPES[NAMES[dtype]])
    return Tensors(shapes, lambda name: _to_numpy(loaded[name]))


def _open_one(path: Path) -> Tensors:
    if path.suffix == ".safetensors":
        file = SafetensorsFile(path)
        return Tensors(file.shapes, file.read, file.metadata, [file])
    return pickled_tensors(path, unwrapped(read_pickle(path), None)[0])


def _to_numpy(tensor: Any) -> np.ndarray:
    """A copy of a torch tensor's bits; numpy alone has no bfloat16."""
    import torch

    tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(jnp.bfloat16)
    return tensor.numpy()
