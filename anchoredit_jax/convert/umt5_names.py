"""The UMT5 encoder's name map, as data: ours, original Wan and `transformers`.

One table serves all directions. `{}` stands for the layer number on their side; ours
stacks all layers along a leading axis.
"""

from collections.abc import Collection, Mapping

import jax
import numpy as np
from flax import traverse_util

from anchoredit_jax.errors import UserError
from anchoredit_jax.models.umt5 import Umt5Config, Umt5Encoder

DIALECTS = ("wan", "transformers")

# (ours, Wan's, that of transformers' UMT5EncoderModel, kind); kind "linear" is
# [out, in] <-> kernel [in, out], "same" as it is.
OUTER = (
    ("token_embedding", "token_embedding.weight", "shared.weight", "same"),
    ("norm/scale", "norm.weight", "encoder.final_layer_norm.weight", "same"),
)
LAYER = tuple(
    (
        f"blocks/{ours}",
        f"blocks.{{}}.{wan}.weight",
        f"encoder.block.{{}}.layer.{transformers}.weight",
        kind,
    )
    for ours, wan, transformers, kind in (
        ("norm1/scale", "norm1", "0.layer_norm", "same"),
        *(
            (f"attn/{name}/kernel", f"attn.{name}", f"0.SelfAttention.{name}", "linear")
            for name in "qkvo"
        ),
        (
            "attn/position_table",
            "pos_embedding.embedding",
            "0.SelfAttention.relative_attention_bias",
            "same",
        ),
        ("norm2/scale", "norm2", "1.layer_norm", "same"),
        ("ffn/gate/kernel", "ffn.gate.0", "1.DenseReluDense.wi_0", "linear"),
        ("ffn/fc1/kernel", "ffn.fc1", "1.DenseReluDense.wi_1", "linear"),
        ("ffn/fc2/kernel", "ffn.fc2", "1.DenseReluDense.wo", "linear"),
    )
)
# transformers ties two names to one tensor; a file holds either, or both.
TIED = ("shared.weight", "encoder.embed_tokens.weight")
_NAMED = 4  # names spelt out in an error


def published_shapes(dialect: str, config: Umt5Config) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a published encoder, without tied ones.

    Raises:
      UserError: an unknown dialect.
    """
    column = _column(dialect)
    ids = jax.ShapeDtypeStruct((1, 1), np.int32)
    mask = jax.ShapeDtypeStruct((1, 1), np.bool_)
    init = Umt5Encoder(config).init
    params = jax.eval_shape(init, jax.random.key(0), ids, mask)["params"]
    flat = traverse_util.flatten_dict(params, sep="/")
    shapes = {row[column]: flat[row[0]].shape for row in OUTER}
    for i in range(config.num_layers):
        for row in LAYER:
            shape = flat[row[0]].shape[1:]
            shapes[row[column].format(i)] = _turned_shape(shape, row[3])
    return shapes


def dialect_of(names: Collection[str]) -> str:
    """Whose names these are.

    Raises:
      UserError: neither dialect's token embedding is there.
    """
    if OUTER[0][1] in names:
        return "wan"
    if any(name in names for name in TIED):
        return "transformers"
    raise UserError(
        "the weights are not those of a UMT5 encoder: expected a tensor "
        f"{OUTER[0][1]!r} (Wan) or {TIED[0]!r} (transformers), found "
        f"{_listed(sorted(names))}"
    )


def from_published(tensors: Mapping[str, np.ndarray], config: Umt5Config) -> dict:
    """Our encoder's parameters from published tensors of either dialect.

    Args:
      tensors: every tensor of the encoder by name; dtypes are kept.
      config: the encoder's sizes.

    Raises:
      UserError: names are missing or left over, a shape is another, the tied embeddings
        differ, or the token embedding is all zeros (a loader that skipped tying leaves
        it so).
    """
    dialect = dialect_of(tensors)
    column, layers = _column(dialect), config.num_layers
    tensors = _untied(tensors) if dialect == "transformers" else dict(tensors)
    shapes = published_shapes(dialect, config)
    missing, extra = (
        sorted(set(shapes) - set(tensors)),
        sorted(set(tensors) - set(shapes)),
    )
    if missing or extra:
        raise UserError(
            f"the weights do not fit a UMT5 encoder of {layers} layers ({dialect} "
            f"names); missing: {_listed(missing)}; unexpected: {_listed(extra)}"
        )
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise UserError(
                f"the weights are of another size of UMT5 encoder: {name!r} is "
                f"{list(tensors[name].shape)}, expected {list(shape)}"
            )
    if not np.any(tensors[OUTER[0][column]]):
        raise UserError(
            f"the token embedding {OUTER[0][column]!r} is all zeros: the file was "
            "written without its tied weights, export it again"
        )
    flat = {row[0]: tensors[row[column]] for row in OUTER}
    for row in LAYER:
        stack = [tensors[row[column].format(i)] for i in range(layers)]
        flat[row[0]] = np.stack([_turned(tensor, row[3]) for tensor in stack])
    return traverse_util.unflatten_dict(flat, sep="/")


def to_published(params: Mapping, dialect: str) -> dict[str, np.ndarray]:
    """Published tensors, by name, from our encoder's parameters; the way back.

    Raises:
      UserError: an unknown dialect.
    """
    column = _column(dialect)
    flat = traverse_util.flatten_dict(params, sep="/")
    tensors = {row[column]: np.asarray(flat[row[0]]) for row in OUTER}
    for row in LAYER:
        for i, tensor in enumerate(np.asarray(flat[row[0]])):
            name = row[column].format(i)
            tensors[name] = np.ascontiguousarray(_turned(tensor, row[3]))
    return tensors


def _column(dialect: str) -> int:
    if dialect not in DIALECTS:
        raise UserError(f"dialect must be one of {DIALECTS}, given {dialect!r}")
    return 1 + DIALECTS.index(dialect)


def _turned(tensor: np.ndarray, kind: str) -> np.ndarray:
    return tensor.T if kind == "linear" else tensor


def _turned_shape(shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
    return shape[::-1] if kind == "linear" else shape


def _untied(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With the token embedding under its first name only."""
    tensors = dict(tensors)
    tied = [tensors.pop(name) for name in TIED if name in tensors]
    if len(tied) == 2 and not np.array_equal(*tied):
        raise UserError(
            f"{TIED[0]!r} and {TIED[1]!r} differ, but are one tensor in UMT5: the file "
            "was written without tying them, export it again"
        )
    return {TIED[0]: tied[0], **tensors}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (", ".join(names[:_NAMED]) or "none") + more
