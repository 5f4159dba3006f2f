"""Safetensors files a tensor at a time: neither reading nor writing holds the model.

The library's own reader checks a file (it knows every way in which a header can lie)
and then maps it into memory, where all that was read stays; its writer wants all
tensors at once. A model of 14B parameters has to pass through less than that.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
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
DIGEST = "anchoredit_jax_digest"  # key of a file's metadata: of the whole file
CHUNK = 2**24  # bytes that are read together


# How a file begins, what it then is, and what to do.
BEGINNINGS = (
    (b"GGUF", "weights quantised for GGUF", "download the bfloat16 or float16 files"),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself",
        "run `git lfs pull` in its repository, or download it again",
    ),
    (b"<!DOCTYPE", "a web page, not weights", "download the file itself"),
    (b"<html", "a web page, not weights", "download the file itself"),
)


class SafetensorsFile:
    """The tensors of one file, each read when it is asked for.

    Attributes:
      shapes: name -> `jax.ShapeDtypeStruct`.
      metadata: the file's own, text by text.
      digest: of the header, which is compared at once, and of the tensors, both in 16
        digits; only files of ours carry one.
    """

    def __init__(self, path: str | Path):
        """
        Raises:
          UserError: the file is damaged (of one with a digest the header has to match
            it), or holds a dtype that is not known here.
        """
        self.path = Path(path)
        try:
            with safe_open(self.path, framework="numpy"):
                pass
            with open(self.path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length))
        except (SafetensorError, OSError, ValueError) as error:
            if self.path.is_file():
                refuse_other_file(self.path)
            raise UserError(
                f"{str(self.path)!r} is no safetensors file: {error}"
            ) from error
        self.metadata: dict[str, str] = header.pop("__metadata__", {})
        self.digest = self.metadata.pop(DIGEST, None)
        if self.digest is not None:
            with open(self.path, "rb") as file:
                start = file.read(8 + length)
            start = start.replace(self.digest.encode(), (2 * PENDING).encode(), 1)
            self._compare(_header_digest(start), self.digest[:16])
        self.shapes: dict[str, jax.ShapeDtypeStruct] = {}
        self._starts: dict[str, int] = {}
        for name, entry in header.items():
            if entry["dtype"] not in DTYPES:
                raise UserError(
                    f"{str(self.path)!r}: tensor {name!r} has dtype {entry['dtype']}; "
                    f"known: {', '.join(DTYPES)}; if the weights are quantised, fetch "
                    "the bfloat16 or float16 files"
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

    def check(self) -> bool:
        """Read all tensors and compare them with the digest.

        Returns:
          Whether it has one; files of others and of earlier versions have none.

        Raises:
          UserError: the file is damaged.
        """
        if self.digest is None:
            return False
        sha = hashlib.sha256()
        for name, tensor in self.shapes.items():
            sha.update(_title(name, tensor))
            for part in self._bytes_of(name):
                sha.update(part)
        self._compare(sha.hexdigest()[:16], self.digest[16:])
        return True

    def _compare(self, found: str, told: str) -> None:
        if found != told:
            raise UserError(
                f"{str(self.path)!r} is damaged: it does not match its digest; fetch "
                "or write it again"
            )

    def _bytes_of(self, name: str) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            file.seek(self._starts[name])
            left = nbytes(self.shapes[name])
            while left and (part := file.read(min(left, CHUNK))):
                left -= len(part)
                yield part

    def map(self, name: str) -> np.ndarray:
        """A tensor that stays in the file, copied when it is written to."""
        tensor = self.shapes[name]
        if not nbytes(tensor):  # nothing to map
            return np.zeros(tensor.shape, tensor.dtype)
        return np.memmap(self.path, tensor.dtype, "c", self._starts[name], tensor.shape)


def refuse_other_file(path: Path) -> None:
    """UserError about a file that begins as one of another kind."""
    with open(path, "rb") as file:
        start = file.read(32).lstrip()
    for beginning, what, advice in BEGINNINGS:
        if start.startswith(beginning):
            raise UserError(f"{str(path)!r} is {what}: {advice}")


def write_safetensors(
    path: Path,
    shapes: Mapping[str, jax.ShapeDtypeStruct],
    parts: Iterable[tuple[str, np.ndarray]],
    metadata: Mapping[str, str],
    digest_key: str | None = None,
) -> None:
    """Write a file that appears whole or not at all, with a digest of all of it.

    Args:
      shapes: every tensor of the file, in the order in which they are written.
      parts: (name, array) in that order; a tensor may come in several parts, one after
        the other, which together are its numbers.
      digest_key: metadata key in whose text `PENDING` is replaced by the first 16 hex
        digits of a SHA-256 over names, shapes, dtypes and bytes.

    Raises:
      ValueError: the parts are not those tensors.
    """
    told = {**metadata, DIGEST: 2 * PENDING}
    header: dict[str, Any] = {"__metadata__": told}
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
            told[digest_key] = told[digest_key].replace(PENDING, digest, 1)
        told[DIGEST] = _header_digest(_encoded(header)) + digest
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
            sha.update(_title(current, tensor))
        if name != current or part.dtype.name != dtype.name or part.nbytes > left:
            raise ValueError(f"{name!r} is not what comes next of {current!r}")
        little = part.dtype.newbyteorder("<")  # as the format says
        data = np.ascontiguousarray(part, little).reshape(-1).view(np.uint8).data
        file.write(data)
        sha.update(data)
        left -= part.nbytes
    if left or next(due, None) is not None:
        raise ValueError("tensors are missing at the end of the file")
    return sha.hexdigest()[:16]


def _title(name: str, tensor: Any) -> bytes:
    return f"{name} {tensor.shape} {np.dtype(tensor.dtype).name}\n".encode()


def _header_digest(header: bytes) -> str:
    """Of the header as it is before the digest is known."""
    return hashlib.sha256(header).hexdigest()[:16]


def _encoded(header: Mapping[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
