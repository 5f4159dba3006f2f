"""How far apart the arrays of two checkpoints are."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import ml_dtypes
import numpy as np

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.trees import leaves_by_name


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far two arrays are apart.

    Attributes:
      elements: how many of them differ.
      size: elements of the array.
      absolute: the largest difference.
      ulps: the most numbers of the dtype that lie between two elements.
      relative: norm of the difference by the norm of the second array.
    """

    elements: int
    size: int
    absolute: float
    ulps: int
    relative: float

    def describe(self) -> str:
        return (
            f"{self.elements} of {self.size} elements, at most {self.absolute:.3g} "
            f"absolute, {self.ulps} ulp"
        )


def distance(left: np.ndarray, right: np.ndarray) -> Distance:
    """Measure two arrays of one shape and dtype, finite floats or integers."""
    ours, theirs = (np.asarray(x, np.float64) for x in (left, right))
    apart = np.abs(ours - theirs)
    norm = float(np.linalg.norm(theirs))
    return Distance(
        elements=int((_rank(left) != _rank(right)).sum()),
        size=left.size,
        absolute=float(apart.max(initial=0)),
        ulps=int(np.abs(_rank(left) - _rank(right)).max(initial=0)),
        relative=float(np.linalg.norm(apart)) / max(norm, 1e-30),
    )


def checkpoint_distances(
    left: Path, right: Path, names: Iterable[str]
) -> dict[str, Distance]:
    """Measure the arrays that two step folders have under the same names.

    Args:
      names: as a certificate has them, "params/blocks/ffn/fc1/kernel".
    """
    by_item: dict[str, list[str]] = {}
    for name in names:
        by_item.setdefault(name.partition("/")[0], []).append(name)
    found = {}
    for item, wanted in by_item.items():
        if not all((folder / item).is_dir() for folder in (left, right)):
            continue
        ours, theirs = (
            leaves_by_name({item: manager.read_item(folder, item)})
            for folder in (left, right)
        )
        for name in wanted:
            stored = name if name in ours else f"{name}/{manager.LEAF}"
            if stored in ours and stored in theirs:
                pair = np.asarray(ours[stored]), np.asarray(theirs[stored])
                if pair[0].shape == pair[1].shape and pair[0].dtype == pair[1].dtype:
                    found[name] = distance(*pair)
    return found


def _rank(values: np.ndarray) -> np.ndarray:
    """The number of each value among all of its dtype, in order of size."""
    if values.dtype not in (np.float32, np.float16, ml_dtypes.bfloat16):
        return values.astype(np.int64)
    width = 8 * values.dtype.itemsize
    bits = values.view(f"uint{width}").astype(np.int64)
    return np.where(bits >> (width - 1), 2 ** (width - 1) - bits, bits)
