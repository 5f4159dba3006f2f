"""The transformer's name map, as data: ours, original Wan and diffusers."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from anchoredit_jax.convert.name_map import (
    LAYOUTS,
    Layout,
    NameMap,
    Row,
    dense_rows,
)
from anchoredit_jax.models import Transformer, TransformerConfig

_OUTER = (
    Row("patch_embedding/kernel", ("patch_embedding.weight",) * 2, "patch"),
    Row("patch_embedding/bias", ("patch_embedding.bias",) * 2, "same"),
    *(
        row
        for ours, wan, diffusers in (
            ("text_embedding/fc1", "text_embedding.0", "text_embedder.linear_1"),
            ("text_embedding/fc2", "text_embedding.2", "text_embedder.linear_2"),
            ("time_embedding/fc1", "time_embedding.0", "time_embedder.linear_1"),
            ("time_embedding/fc2", "time_embedding.2", "time_embedder.linear_2"),
            ("time_embedding/projection", "time_projection.1", "time_proj"),
        )
        for row in dense_rows(ours, wan, f"condition_embedder.{diffusers}")
    ),
    Row("head/modulation", ("head.modulation", "scale_shift_table"), "leading_one"),
    *dense_rows("head/out", "head.head", "proj_out"),
)


def _attention(ours: str, diffusers: str) -> Iterator[Row]:
    for name, theirs in zip("qkvo", ("to_q", "to_k", "to_v", "to_out.0"), strict=True):
        yield from dense_rows(
            f"{ours}/{name}", f"{ours}.{name}", f"{diffusers}.{theirs}"
        )
    for name in ("norm_q", "norm_k"):
        theirs = (f"{ours}.{name}.weight", f"{diffusers}.{name}.weight")
        yield Row(f"{ours}/{name}/scale", theirs, "same")


_LAYER = (
    Row("modulation", ("modulation", "scale_shift_table"), "leading_one"),
    *_attention("self_attn", "attn1"),
    *_attention("cross_attn", "attn2"),
    Row("norm_cross/scale", ("norm3.weight", "norm2.weight"), "same"),
    Row("norm_cross/bias", ("norm3.bias", "norm2.bias"), "same"),
    *dense_rows("ffn/fc1", "ffn.0", "ffn.net.0.proj"),
    *dense_rows("ffn/fc2", "ffn.2", "ffn.net.2"),
)
ROWS = _OUTER + tuple(
    Row(f"blocks/{ours}", tuple(f"blocks.{{}}.{name}" for name in theirs), layout)
    for ours, theirs, layout in _LAYER
)


def name_map(patch: int = 2) -> NameMap:
    """The table for patches of this side: [D, C, 1, p, q] <-> [(p q C), D]."""

    def ours(tensor: np.ndarray) -> np.ndarray:
        return tensor[:, :, 0].transpose(2, 3, 1, 0).reshape(-1, tensor.shape[0])

    def theirs(kernel: np.ndarray) -> np.ndarray:
        split = kernel.reshape(patch, patch, -1, kernel.shape[-1])
        return split.transpose(3, 2, 0, 1)[:, :, None]

    layouts = {**LAYOUTS, "patch": Layout(ours, theirs)}
    return NameMap("a Wan transformer", ROWS, layouts)


def tree_shapes(config: TransformerConfig) -> dict[str, Any]:
    """The shapes of our parameters, as the network's own initialisation has them."""
    inputs = [
        jax.ShapeDtypeStruct(shape, np.float32)
        for shape in (
            (1, 2, config.patch, config.patch, config.channels),
            (1, 2),
            (1, 1, 1, config.text_dim),
        )
    ]
    init = Transformer(config).init
    return jax.eval_shape(init, jax.random.key(0), *inputs)["params"]
