"""Weights of one network, wherever they lie: one view for every reader.

`open_weights` finds out what a path holds, checks every name and shape before anything
is read, and hands out leaves of our tree, whole or a layer at a time. Importing,
exporting, inspecting and verifying all work on that.
"""

import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.checkpoint.checksums import check_finite
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.checkpoint.safetensors_stream import SafetensorsFile, nbytes
from anchoredit_jax.config import run_from_json
from anchoredit_jax.convert import umt5_names
from anchoredit_jax.convert.name_map import Piece
from anchoredit_jax.convert.networks import NETWORKS, Network, recognise
from anchoredit_jax.convert.other_files import refuse_dtype
from anchoredit_jax.convert.published_files import Found, find_published, naming
from anchoredit_jax.convert.tensor_files import Tensors, as_tensors
from anchoredit_jax.errors import UserError
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.strict import build_dataclass
from anchoredit_jax.trees import leaves_by_name, unflatten

log = logging.getLogger(__name__)

OURS = "anchoredit_jax"
WEIGHTS = ("ema", "live", "critic")
LeafReader = Callable[[str, int | None], np.ndarray]
# What they are called in a training state.
_ITEMS = {"ema": "ema", "live": "params", "critic": "critic"}


@dataclasses.dataclass(frozen=True)
class Source:
    """Readable weights.

    Attributes:
      path: where they lie.
      network: which of the three.
      dialect: "anchoredit_jax", or whose names and layout they have.
      weights: "ema", "live", "critic", or None where there is only one kind.
      kinds: those that the path has.
      config: sizes of the network.
      leaves: our leaves by name, as `jax.ShapeDtypeStruct`; where layers differ in
        dtype, that which holds them all.
      read_leaf: (name, layer or None for all) -> array in our layout, which is the
        caller's own: nobody else reads its memory.
      run, lineage: what our own weights say of themselves; `lineage.digest` is empty
        for a training state.
      step: optimizer steps, where the file tells.
      metadata: what else a file says of itself.
      digests: what a reader compares the weights with: "array" by array, while they
        are read; the whole "file", by `check`; None, where nothing was stored.
      check: reads all that lies there and compares it; raises UserError for damage.
      heads_told: whether the number of a transformer's heads, which no tensor shows, is
        known and not Wan's usual.
    """

    path: Path
    network: Network
    dialect: str
    weights: str | None
    config: Any
    leaves: Mapping[str, jax.ShapeDtypeStruct]
    read_leaf: LeafReader
    run: RunConfig | None = None
    lineage: Lineage | None = None
    step: int | None = None
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    heads_told: bool = True
    digests: str | None = None
    check: Callable[[], Any] = lambda: None
    kinds: tuple[str, ...] = ()

    def pieces(self, dialect: str = "wan") -> Iterator[Piece]:
        """Every tensor, with its name in a dialect."""
        return self.network.table(self.config).pieces(dialect, self.leaves)

    def published(
        self, dialect: str, names: Collection[str] | None = None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """(name, array) of tensors as the dialect has them, each read when asked for.

        Args:
          names: Those wanted; None for all.

        Raises:
          UserError: It is an unknown dialect.
        """
        for piece in self.pieces(dialect):
            if names is None or piece.theirs in names:
                leaf = self.read_leaf(piece.ours, piece.layer)
                yield piece.theirs, np.ascontiguousarray(piece.layout.theirs(leaf))

    def parts(self, name: str) -> Iterator[np.ndarray]:
        """A leaf, a layer at a time where it is stacked."""
        layers = [p.layer for p in self.pieces() if p.ours == name]
        for layer in layers:
            yield self.read_leaf(name, layer)

    def tree(self) -> dict[str, Any]:
        """Read all leaves and nest them by their names.

        Raises:
          UserError: the weights are damaged, or some are NaN or infinite.
        """
        self.check_whole()
        leaves = {name: self.read_leaf(name, None) for name in self.leaves}
        check_finite(leaves, repr(str(self.path)))
        return unflatten(leaves)

    def check_whole(self) -> None:
        """`check`, where reading the leaves would not notice damage by itself."""
        if self.digests == "file":
            self.check()

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the import of a transformer had to assume of it, one line each."""
        return tuple(json.loads(self.metadata.get(assets.ASSUMED, "[]")))

    @property
    def nbytes(self) -> int:
        return sum(nbytes(leaf) for leaf in self.leaves.values())

    @property
    def count(self) -> int:
        """How many parameters there are."""
        return sum(int(np.prod(leaf.shape)) for leaf in self.leaves.values())


def open_weights(
    path: str | Path,
    dialect: str | None = None,
    weights: str | None = None,
    network: str | None = None,
    expert: str | None = None,
) -> Source:
    """What lies at `path`, checked and not yet read.

    Args:
      path: a bundle or a training checkpoint of ours, a published file, an index of
        shards, or a folder that holds one of them.
      dialect: "wan", "diffusers" or "anchoredit" if it has to be that; None accepts
        any, ours too.
      weights: "ema", "live" or "critic" where there may be several; None takes the
        averaged ones if they are there, and what there is where there is no choice.
      network: "transformer", "vae" or "umt5" where a folder holds several.
      expert: "high" or "low" where it holds transformers of two noise levels.

    Raises:
      UserError: nothing is there, it is damaged, another dialect, incomplete, or has no
        such weights.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{str(path)!r} does not exist")
    if network is not None and network not in NETWORKS:
        raise UserError(
            f"network must be one of {', '.join(NETWORKS)}, given {network!r}"
        )
    if weights is not None and weights not in WEIGHTS:
        raise UserError(f"weights must be one of {WEIGHTS}, given {weights!r}")
    if assets.is_ours(path) or _is_training(path):
        if dialect is not None:
            raise UserError(
                f"{str(path)!r} holds weights of this product, expected the dialect "
                f"{dialect!r}"
            )
        opened = _open_file if assets.is_ours(path) else _open_training
        source = opened(path, weights)
    else:
        found = find_published(path, network, weights, expert)
        with naming(found.path):
            source = _open_published(found, dialect)
    if network is not None and source.network.name != network:
        raise UserError(
            f"{str(path)!r} holds a {source.network.name}, expected a {network}"
        )
    return source


def _is_training(path: Path) -> bool:
    if not path.is_dir():
        return False
    try:
        assets.find_step(path)
    except UserError:
        return False
    return True


def _open_file(path: Path, weights: str | None) -> Source:
    path = path / assets.FILE_NAME if path.is_dir() else path
    kinds = assets.kept_beside(path)
    if weights in kinds:
        return _open_file(kinds[weights], weights)
    file = SafetensorsFile(path)
    name = file.metadata.get("network", "transformer")
    run = lineage = None
    if name == "transformer":
        run = run_from_json(file.metadata["config"])
        lineage = Lineage.from_json(file.metadata["lineage"])
        config = run.model
        has = {item: kind for kind, item in _ITEMS.items()}[lineage.weights]
    else:
        given = json.loads(file.metadata["config"])
        config = build_dataclass(type(NETWORKS[name].usual), given, where=name)
        has = None
    if weights is not None and has is not None and weights != has:
        raise UserError(f"{str(path)!r} holds the {has} weights, asked for {weights}")
    _check_leaves(NETWORKS[name], config, file.shapes, path)
    return Source(
        path, NETWORKS[name], OURS, has, config, file.shapes, file.read, run, lineage,
        lineage.step if lineage else None, file.metadata,
        digests="file" if file.digest else None, check=file.check,
        kinds=(*([has] if has else []), *kinds),
    )  # fmt: skip


def _open_training(path: Path, weights: str | None) -> Source:
    step_dir = assets.find_step(path)
    if (path / assets.FILE_NAME).is_file():
        log.warning("%s", assets.told_beside(path, step_dir))
    meta = manager.read_meta(step_dir)
    assets.warn_of_name(step_dir, meta)
    items = manager.item_names(step_dir)
    weights = weights or "ema"
    item = _ITEMS[weights]
    if item not in items:
        raise UserError(
            f"{str(step_dir)!r} has no {weights} weights, it holds "
            f"{', '.join(sorted(items))}: take others with --weights, or another step"
        )
    run = run_from_json(meta["config"])
    leaves = leaves_by_name(manager.tree_shapes(step_dir, [item])[item])
    _check_leaves(NETWORKS["transformer"], run.model, leaves, step_dir)
    last: list[Any] = [None, None]  # the leaf read last: its layers come one by one

    def read(name: str, layer: int | None) -> np.ndarray:
        if layer is None:
            return manager.read_leaf(step_dir, item, name)
        if last[0] != name:
            last[:] = [None, None]
            last[:] = [name, manager.read_leaf(step_dir, item, name)]
        return last[1][layer].copy()

    lineage = assets.lineage_of(meta, "", item)
    return Source(
        step_dir, NETWORKS["transformer"], OURS, weights, run.model, leaves, read, run,
        lineage, meta["step"],
        digests="array" if manager.stored_checksums(step_dir) else None,
        check=functools.partial(manager.check_step, step_dir),
        kinds=tuple(kind for kind in WEIGHTS if _ITEMS[kind] in items),
    )  # fmt: skip


def _check_leaves(network: Network, config: Any, leaves: Mapping, path: Path) -> None:
    expected = network.leaves(config)
    same = {name: leaf.shape for name, leaf in leaves.items()} == {
        name: leaf.shape for name, leaf in expected.items()
    }
    if not same:
        raise UserError(
            f"{str(path)!r}: the weights are not those of the {network.name} that its "
            "configuration describes"
        )


def _open_published(found: Found, dialect: str | None) -> Source:
    tensors = found.tensors
    kind, names = recognise(tensors)
    if found.dialect == "anchoredit" and names != "wan":
        raise UserError("this is a checkpoint, but not of a Wan transformer")
    is_dialect = found.dialect or names
    if dialect is not None and dialect != is_dialect:
        raise UserError(
            f"the names are of the dialect {is_dialect!r}, expected {dialect!r}"
        )
    shapes = {name: tensor.shape for name, tensor in tensors.shapes.items()}
    run, lineage = _of_our_export(tensors.metadata)
    config = run.model if run else kind.config_of(shapes, names, found.config)
    leaves, read_leaf = _checked(found.path, tensors, kind, names, config)
    return Source(
        found.path, kind, is_dialect, found.weights, config, leaves, read_leaf,
        run, lineage, lineage.step if lineage else found.step, tensors.metadata,
        run is not None or any("heads" in key for key in found.config),
        "file" if any(file.digest for file in tensors.files) else None,
        lambda: [file.check() for file in tensors.files], found.kinds,
    )  # fmt: skip


def source_of_tensors(
    tensors: Mapping[str, np.ndarray], network: str, config: Any
) -> Source:
    """Published tensors that are in memory, as `open_weights` opens those of a file.

    Args:
      config: Sizes of the network, which the tensors must have.

    Raises:
      UserError: Names are missing or left over, or a shape is another.
    """
    _, dialect = recognise(tensors)
    path, known, held = Path("memory"), NETWORKS[network], as_tensors(tensors)
    leaves, read_leaf = _checked(path, held, known, dialect, config)
    return Source(path, known, dialect, None, config, leaves, read_leaf)


def source_of_params(params: Any, network: str, config: Any) -> Source:
    """Our parameters that are in memory, as `open_weights` opens those of a file."""
    leaves = leaves_by_name(params)

    def read(name: str, layer: int | None) -> np.ndarray:
        leaf = np.asarray(leaves[name])
        return np.array(leaf if layer is None else leaf[layer])

    known = NETWORKS[network]
    return Source(Path("memory"), known, OURS, None, config, leaves, read)


def _checked(
    path: Path, tensors: Tensors, network: Network, dialect: str, config: Any
) -> tuple[dict[str, jax.ShapeDtypeStruct], LeafReader]:
    """Our leaves of published tensors, and what reads one, by (name, layer)."""
    if network.name == "umt5" and dialect == "diffusers":
        tensors = umt5_names.untied(tensors)
    table, ours = network.table(config), network.leaves(config)
    shapes = {name: tensor.shape for name, tensor in tensors.shapes.items()}
    table.check(shapes, dialect, ours)
    where: dict[tuple[str, int | None], Piece] = {}
    dtypes: dict[str, set[np.dtype]] = {}
    for name, tensor in tensors.shapes.items():
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            refuse_dtype(name, tensor.dtype.name, ("float32", "bfloat16", "float16"))
    for piece in table.pieces(dialect, ours):
        where[piece.ours, piece.layer] = piece
        dtypes.setdefault(piece.ours, set()).add(tensors.shapes[piece.theirs].dtype)
    leaves = {
        name: jax.ShapeDtypeStruct(leaf.shape, _widest(dtypes[name]))
        for name, leaf in ours.items()
    }

    def read(name: str, layer: int | None) -> np.ndarray:
        if (name, layer) not in where:  # a stacked leaf, whole
            return np.stack([read(name, i) for i in range(leaves[name].shape[0])])
        piece = where[name, layer]
        tensor = piece.layout.ours(tensors[piece.theirs])
        if name == umt5_names.EMBEDDING:
            with naming(path):
                umt5_names.check_embedding(tensor, dialect)
        return tensor.astype(leaves[name].dtype, copy=False)

    return leaves, read


def _of_our_export(
    metadata: Mapping[str, str],
) -> tuple[RunConfig | None, Lineage | None]:
    """Configuration and lineage, which our exports of transformers carry."""
    if not {"config", "lineage_record"} <= set(metadata):
        return None, None
    run = run_from_json(metadata["config"])
    return run, Lineage.from_json(metadata["lineage_record"])


def _widest(dtypes: Collection[np.dtype]) -> np.dtype:
    return np.dtype(jnp.result_type(*dtypes)) if len(dtypes) > 1 else next(iter(dtypes))
