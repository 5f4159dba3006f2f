"""Whether two sets of weights are the same, whatever their dialects."""

import dataclasses
from collections.abc import Callable

import numpy as np

from anchoredit_jax.convert.name_map import listed
from anchoredit_jax.convert.source import Source
from anchoredit_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What two sets of weights have in common. Names are those of original Wan.

    Attributes:
      tensors: how many both have, in the same shape.
      only_first, only_second: names that the other lacks.
      shapes: (name, first shape, second shape) where they differ.
      dtypes: names whose dtypes differ; their values are compared all the same.
      unequal: names whose values differ in any bit.
      largest: the largest absolute difference, and the name it is found at.
    """

    tensors: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    shapes: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    dtypes: tuple[str, ...]
    unequal: tuple[str, ...]
    largest: tuple[float, str]

    @property
    def same_values(self) -> bool:
        """Equal in every value, the dtypes aside."""
        different = self.only_first or self.only_second or self.shapes or self.unequal
        return not different

    @property
    def equal(self) -> bool:
        """Equal bit for bit, the names' dialects aside."""
        return self.same_values and not self.dtypes

    def describe(self) -> str:
        lines = [f"{self.tensors} tensors of one shape in both"]
        for name, names in (
            ("only in the first", self.only_first),
            ("only in the second", self.only_second),
            ("of another dtype", self.dtypes),
            ("of other values", self.unequal),
        ):
            if names:
                lines.append(f"{len(names)} {name}: {listed(list(names))}")
        for name, first, second in self.shapes[:4]:
            lines.append(f"{name}: {list(first)} and {list(second)}")
        if self.unequal:
            largest, where = self.largest
            lines.append(f"largest difference: {largest:.3e} at {where}")
        verdict = "bit-equal" if self.equal else "different"
        if self.dtypes and self.same_values:
            verdict = "equal in value, of different dtypes"
        return "\n".join([*lines, verdict])


def compare_weights(
    first: Source, second: Source, progress: Callable[[int], None] = lambda done: None
) -> Comparison:
    """Compare tensor by tensor, two in memory at a time.

    Raises:
      UserError: they are of different networks.
    """
    if first.network.name != second.network.name:
        raise UserError(
            f"{str(first.path)!r} is a {first.network.name}, {str(second.path)!r} a "
            f"{second.network.name}: there is nothing to compare"
        )
    pieces = [{p.theirs: p for p in source.pieces()} for source in (first, second)]
    common = [name for name in pieces[0] if name in pieces[1]]
    shapes, dtypes, unequal = [], [], []
    largest, tensors = (0.0, ""), 0
    for name in common:
        piece = pieces[0][name]
        a, b = (s.read_leaf(piece.ours, piece.layer) for s in (first, second))
        progress(a.nbytes)
        if a.shape != b.shape:
            shapes.append(
                (name, piece.layout.theirs(a).shape, piece.layout.theirs(b).shape)
            )
            continue
        tensors += 1
        if a.dtype != b.dtype:
            dtypes.append(name)
        difference = _difference(a, b)
        if difference is not None:
            unequal.append(name)
            largest = max(largest, (difference, name))
    return Comparison(
        tensors,
        tuple(name for name in pieces[0] if name not in pieces[1]),
        tuple(name for name in pieces[1] if name not in pieces[0]),
        tuple(shapes),
        tuple(dtypes),
        tuple(unequal),
        largest,
    )


def _difference(a: np.ndarray, b: np.ndarray) -> float | None:
    """Largest absolute difference; None where equal (of one dtype: in every bit)."""
    if a.dtype == b.dtype:
        bits = [np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in (a, b)]
        if np.array_equal(*bits):
            return None
    wide = [np.asarray(x, np.float64) for x in (a, b)]
    if a.dtype != b.dtype and np.array_equal(*wide, equal_nan=True):
        return None
    if (np.isnan(wide[0]) != np.isnan(wide[1])).any():
        return float("inf")
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.abs(wide[0] - wide[1]), initial=0.0))
