"""Name maps as data: one table of names and layouts serves every direction.

Ours stacks all layers along a leading axis; published weights number them.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from anchoredit_jax.errors import UserError

LISTED = 4  # names spelt out in an error


class Row(NamedTuple):
    """One tensor, or the tensors of one name in all layers.

    Attributes:
      ours: path in our tree of parameters, "blocks/ffn/fc1/kernel".
      theirs: its name in each dialect; `{}` stands for the number of the layer.
      layout: a key of `NameMap.layouts`.
    """

    ours: str
    theirs: tuple[str, ...]
    layout: str


class Layout(NamedTuple):
    """How one tensor lies there and here; `ours` and `theirs` are inverse."""

    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda tensor: tensor, lambda tensor: tensor)
LINEAR = Layout(np.transpose, np.transpose)  # [out, in] <-> [in, out]
LEADING_ONE = Layout(lambda tensor: tensor[0], lambda tensor: tensor[None])
LAYOUTS = {"same": SAME, "linear": LINEAR, "leading_one": LEADING_ONE}


def dense_rows(ours: str, *theirs: str) -> tuple[Row, Row]:
    """A linear map with a bias."""
    return (
        Row(f"{ours}/kernel", tuple(f"{name}.weight" for name in theirs), "linear"),
        Row(f"{ours}/bias", tuple(f"{name}.bias" for name in theirs), "same"),
    )


@dataclasses.dataclass(frozen=True)
class NameMap:
    """The table of one network.

    Attributes:
      network: what errors call it, "a UMT5 encoder".
      dialects: whose names `Row.theirs` holds, in its order.
      rows: those with `{}` in their names are of every layer.
      layouts: by name.
    """

    network: str
    dialects: tuple[str, ...]
    rows: tuple[Row, ...]
    layouts: Mapping[str, Layout] = dataclasses.field(default_factory=lambda: LAYOUTS)

    def shapes(self, dialect: str, params: Any) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor they publish.

        Args:
          params: our tree, of arrays or of shapes.

        Raises:
          UserError: an unknown dialect.
        """
        flat = traverse_util.flatten_dict(params, sep="/")
        nothing = {
            path: np.broadcast_to(np.int8(0), leaf.shape) for path, leaf in flat.items()
        }
        return {
            name: tensor.shape for name, tensor in self._published(dialect, nothing)
        }

    def to_ours(
        self, tensors: Mapping[str, np.ndarray], dialect: str, params: Any
    ) -> dict[str, Any]:
        """Our parameters from theirs; dtypes are kept.

        Args:
          tensors: every tensor by name, and no other.
          params: a tree of ours with the expected shapes.

        Raises:
          UserError: an unknown dialect, names missing or left over, another shape.
        """
        expected = self.shapes(dialect, params)
        missing = sorted(set(expected) - set(tensors))
        extra = sorted(set(tensors) - set(expected))
        if missing or extra:
            raise UserError(
                f"the weights do not fit {self.network} of {self._layers(params)} "
                f"layers ({dialect} names); missing: {listed(missing)}; unexpected: "
                f"{listed(extra)}"
            )
        for name, shape in expected.items():
            if tensors[name].shape != shape:
                raise UserError(
                    f"the weights are of another size of {self.network}: {name!r} is "
                    f"{list(tensors[name].shape)}, expected {list(shape)}"
                )
        column, layers = self.dialects.index(dialect), self._layers(params)
        flat = {}
        for row in self.rows:
            turn, name = self.layouts[row.layout].ours, row.theirs[column]
            if "{}" in name:
                stack = [turn(tensors[name.format(i)]) for i in range(layers)]
                flat[row.ours] = np.stack(stack)
            else:
                flat[row.ours] = turn(tensors[name])
        return traverse_util.unflatten_dict(flat, sep="/")

    def to_theirs(self, params: Any, dialect: str) -> dict[str, np.ndarray]:
        """Their tensors by name from our parameters; the way back of `to_ours`.

        Raises:
          UserError: an unknown dialect.
        """
        flat = traverse_util.flatten_dict(params, sep="/")
        return {
            name: np.ascontiguousarray(tensor)
            for name, tensor in self._published(dialect, flat)
        }

    def _published(self, dialect, flat):
        if dialect not in self.dialects:
            raise UserError(
                f"dialect must be one of {self.dialects}, given {dialect!r}"
            )
        column = self.dialects.index(dialect)
        for row in self.rows:
            turn, name = self.layouts[row.layout].theirs, row.theirs[column]
            tensor = np.asarray(flat[row.ours])
            if "{}" in name:
                for i, part in enumerate(tensor):
                    yield name.format(i), turn(part)
            else:
                yield name, turn(tensor)

    def _layers(self, params: Any) -> int:
        flat = traverse_util.flatten_dict(params, sep="/")
        path = next(row.ours for row in self.rows if "{}" in row.theirs[0])
        return flat[path].shape[0]


def listed(names: list[str]) -> str:
    """The first few names of a list, for an error in one line."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (", ".join(names[:LISTED]) or "none") + more
