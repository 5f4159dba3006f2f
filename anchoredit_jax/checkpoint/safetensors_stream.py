"""Safetensors files a tensor at a time: neither reading nor writing holds the model.

The library's own reader checks a file (it knows every way in which a header can lie)
and then maps it into memory, where all that was read stays; its writer wants all
tensors at once. A model of 14B parameters has to pass through less than that.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from anchoredit_jax.errors import UserError
from anchoredit_jax.files import appearing

DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8,
    "BOOL": np.bool_,
}  # fmt: skip
NAMES = {np.dtype(dtype).name: name for name, dtype in DTYPES.items()}
PENDING = "0" * 16  # stands for the digest until all tensors are written


class SafetensorsFile:
    """The tensors of one file, each read when it is asked for.

    Attributes:
      shapes: name -> `jax.ShapeDtypeStruct`.
      metadata: the file's own, text by text.
    """

    def __init__(self, path: str | Path):
        """
        Raises:
          UserError: the file is damaged, or holds a dtype that is not known here.
        """
        self.path = Path(path)
        try:
            with safe_open(self.path, framework="numpy"):
                pass
            with open(self.path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length))
        except (SafetensorError, OSError, json.JSONDecodeError) as error:
            raise UserError(
                f"{str(self.path)!r} is no safetensors file: {error}"
            ) from error
        self.metadata: dict[str, str] = header.pop("__metadata__", {})
        self.shapes: dict[str, jax.ShapeDtypeStruct] = {}
        self._starts: dict[str, int] = {}
        for name, entry in header.items():
            if entry["dtype"] not in DTYPES:
                raise UserError(
                    f"{str(self.path)!r}: tensor {name!r} has dtype {entry['dtype']}; "
                    f"known: {', '.join(DTYPES)}"
                )
            dtype = np.dtype(DTYPES[entry["dtype"]])
            self.shapes[name] = jax.ShapeDtypeStruct(tuple(entry["shape"]), dtype)
            self._starts[name] = 8 + length + entry["data_offsets"][0]

    def read(self, name: str, layer: int | None = None) -> np.ndarray:
        """A tensor, or one entry along its leading axis."""
        shape, dtype = self.shapes[name].shape, self.shapes[name].dtype
        start = self._starts[name]
        if layer is not None:
            shape = shape[1:]
            start += layer * int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        count = int(np.prod(shape, dtype=np.int64))
        flat = np.fromfile(self.path, dtype, count, offset=start)
        if flat.size != count:
            raise UserError(
                f"{str(self.path)!r} became shorter while it was read: tensor {name!r} "
                f"has {flat.size} of {count} numbers"
            )
        return flat.reshape(shape)

    def map(self, name: str) -> np.ndarray:
        """A tensor that stays in the file, copied when it is written to."""
        tensor = self.shapes[name]
        if not nbytes(tensor):  # nothing to map
            return np.zeros(tensor.shape, tensor.dtype)
        return np.memmap(self.path, tensor.dtype, "c", self._starts[name], tensor.shape)


def write_safetensors(
    path: Path,
    shapes: Mapping[str, jax.ShapeDtypeStruct],
    parts: Iterable[tuple[str, np.ndarray]],
    metadata: Mapping[str, str],
    digest_key: str | None = None,
) -> None:
    """Write a file that appears whole or not at all.

    Args:
      shapes: every tensor of the file, in the order in which they are written.
      parts: (name, array) in that order; a tensor may come in several parts, one after
        the other, which together are its numbers.
      digest_key: metadata key in whose text `PENDING` is replaced by the first 16 hex
        digits of a SHA-256 over names, shapes, dtypes and bytes.

    Raises:
      ValueError: the parts are not those tensors.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in shapes.items():
        start, end = end, end + nbytes(tensor)
        header[name] = {
            "dtype": NAMES[np.dtype(tensor.dtype).name],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    with appearing(path) as temporary, open(temporary, "wb") as file:
        file.write(_encoded(header))
        digest = _write_parts(file, shapes, parts)
        if digest_key is not None:
            text = metadata[digest_key].replace(PENDING, digest, 1)
            header["__metadata__"][digest_key] = text
            file.seek(0)
            file.write(_encoded(header))


def nbytes(tensor: Any) -> int:
    """Bytes of an array or of a shape."""
    size = int(np.prod(tensor.shape, dtype=np.int64))
    return size * np.dtype(tensor.dtype).itemsize


def _write_parts(file, shapes, parts) -> str:
    sha = hashlib.sha256()
    due, left, current = iter(shapes.items()), 0, None
    for name, part in parts:
        if not left:
            current, tensor = next(due, (None, None))
            if current is None:
                raise ValueError(f"{name!r} follows the last tensor of the file")
            left = nbytes(tensor)
            dtype = np.dtype(tensor.dtype)
            sha.update(f"{current} {tensor.shape} {dtype.name}\n".encode())
        if name != current or part.dtype != dtype or part.nbytes > left:
            raise ValueError(f"{name!r} is not what comes next of {current!r}")
        data = np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
        file.write(data)
        sha.update(data)
        left -= part.nbytes
    if left or next(due, None) is not None:
        raise ValueError("tensors are missing at the end of the file")
    return sha.hexdigest()[:16]


def _encoded(header: Mapping[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
