"""The UMT5 encoder's name map, as data: ours, original Wan and `transformers`."""

from typing import Any

import jax
import numpy as np

from anchoredit_jax.convert.name_map import DIALECTS, NameMap, Row
from anchoredit_jax.convert.tensor_files import Tensors
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.umt5 import Umt5Config, Umt5Encoder

# transformers ties two names to one tensor; a file holds either, or both.
TIED = ("shared.weight", "encoder.embed_tokens.weight")
EMBEDDING = "token_embedding"
_EMBEDDING = ("token_embedding.weight", TIED[0])
NAMES = NameMap(
    "a UMT5 encoder",
    (
        Row(EMBEDDING, _EMBEDDING, "same"),
        Row("norm/scale", ("norm.weight", "encoder.final_layer_norm.weight"), "same"),
        *(
            Row(
                f"blocks/{ours}",
                (
                    f"blocks.{{}}.{wan}.weight",
                    f"encoder.block.{{}}.layer.{transformers}.weight",
                ),
                layout,
            )
            for ours, wan, transformers, layout in (
                ("norm1/scale", "norm1", "0.layer_norm", "same"),
                *(
                    (
                        f"attn/{name}/kernel",
                        f"attn.{name}",
                        f"0.SelfAttention.{name}",
                        "linear",
                    )
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
        ),
    ),
)


def check_embedding(table: np.ndarray, dialect: str) -> None:
    """UserError where the token embedding holds nothing."""
    if not np.any(table):
        name = _EMBEDDING[DIALECTS.index(dialect)]
        raise UserError(
            f"the token embedding {name!r} is all zeros: the file was written without "
            "its tied weights, export it again"
        )


def tree_shapes(config: Umt5Config) -> dict[str, Any]:
    """The shapes of our parameters, as the network's own initialisation has them."""
    ids = jax.ShapeDtypeStruct((1, 1), np.int32)
    mask = jax.ShapeDtypeStruct((1, 1), np.bool_)
    init = Umt5Encoder(config).init
    return jax.eval_shape(init, jax.random.key(0), ids, mask)["params"]


def untied(tensors: Tensors) -> Tensors:
    """The same tensors with the token embedding under the first of its names (`TIED`).

    Raises:
      UserError: the two names hold different tensors.
    """
    names = [name for name in TIED if name in tensors]
    if len(names) == 2:
        if not np.array_equal(*(tensors[name] for name in names)):
            raise UserError(
                f"{TIED[0]!r} and {TIED[1]!r} differ, but are one tensor in UMT5: the "
                "file was written without tying them, export it again"
            )
        tensors = tensors.without(TIED[1])
    return tensors.renamed(lambda name: TIED[0] if name == TIED[1] else name)
