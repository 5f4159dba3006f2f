"""Name maps as data: one table of names and layouts serves every direction.

Ours stacks all layers along a leading axis; published weights number them. So a tensor
of theirs is a `Piece` of ours: a whole leaf, or one layer of it. Everything that moves
weights goes through pieces, one at a time.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from anchoredit_jax.errors import UserError

DIALECTS = ("wan", "diffusers")  # whose names `Row.theirs` holds, in this order
LISTED = 4  # names spelt out in an error

Leaves = Mapping[str, Any]  # ours by name, whatever has a shape


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


class Piece(NamedTuple):
    """One tensor of theirs, and where it is in ours.

    Attributes:
      ours: path of the leaf.
      layer: its place along the leaf's leading axis, None for the whole leaf.
      theirs: name in the dialect asked for.
      layout: between the two.
    """

    ours: str
    layer: int | None
    theirs: str
    layout: Layout


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
      rows: those with `{}` in their names are of every layer.
      layouts: by name.
    """

    network: str
    rows: tuple[Row, ...]
    layouts: Mapping[str, Layout] = dataclasses.field(default_factory=lambda: LAYOUTS)

    def likeness(self, names: Collection[str], dialect: str) -> float:
        """Share of the table's names that are among `names` (of layers, the first)."""
        column = DIALECTS.index(dialect)
        found = sum(row.theirs[column].replace("{}", "0") in names for row in self.rows)
        return found / len(self.rows)

    def pieces(self, dialect: str, leaves: Leaves) -> Iterator[Piece]:
        """Every tensor that they publish, a leaf's layers in order.

        Args:
          leaves: Our leaves by name, arrays or shapes.

        Raises:
          UserError: It is an unknown dialect.
        """
        if dialect not in DIALECTS:
            raise UserError(f"dialect must be one of {DIALECTS}, given {dialect!r}")
        column, layers = DIALECTS.index(dialect), self._layers(leaves)
        for row in self.rows:
            layout, name = self.layouts[row.layout], row.theirs[column]
            if "{}" not in name:
                yield Piece(row.ours, None, name, layout)
                continue
            for layer in range(layers):
                yield Piece(row.ours, layer, name.format(layer), layout)

    def shapes(self, dialect: str, leaves: Leaves) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor they publish; arguments as of `pieces`."""
        shapes = {}
        for piece in self.pieces(dialect, leaves):
            stacked = leaves[piece.ours].shape
            shape = stacked if piece.layer is None else stacked[1:]
            nothing = np.broadcast_to(np.int8(0), shape)
            shapes[piece.theirs] = piece.layout.theirs(nothing).shape
        return shapes

    def check(
        self, given: Mapping[str, tuple[int, ...]], dialect: str, leaves: Leaves
    ) -> None:
        """Refuse anything but every tensor of the network, each in its shape.

        Args:
          given: Their shapes by their names.
          leaves: Our leaves by name, of the expected shapes.

        Raises:
          UserError: The dialect is unknown, names are missing or left over, or a shape
            is another.
        """
        expected = self.shapes(dialect, leaves)
        missing = sorted(set(expected) - set(given))
        extra = sorted(set(given) - set(expected))
        if missing or extra:
            layers = self._layers(leaves)
            size = f" of {layers} layers" if layers else ""
            raise UserError(
                f"the weights do not fit {self.network}{size} ({dialect} names); "
                f"missing: {listed(missing)}; unexpected: {listed(extra)}"
            )
        for name, shape in expected.items():
            if tuple(given[name]) != shape:
                raise UserError(
                    f"the weights are of another size of {self.network}: {name!r} is "
                    f"{list(given[name])}, expected {list(shape)}"
                )

    def _layers(self, leaves: Leaves) -> int:
        """Length of the leading axis of stacked leaves; 0 where nothing is stacked."""
        stacked = (row.ours for row in self.rows if "{}" in row.theirs[0])
        path = next(stacked, None)
        return leaves[path].shape[0] if path in leaves else 0


def listed(names: list[str]) -> str:
    """The first few names of a list, for an error in one line."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (", ".join(names[:LISTED]) or "none") + more
