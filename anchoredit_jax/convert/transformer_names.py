"""The transformer's name map, as data: original Wan names against ours.

One table serves both directions. `{}` stands for the layer number on their side; ours
stacks all layers along a leading axis.
"""

import numpy as np

from anchoredit_jax.errors import UserError

# kind: "linear" [out, in] <-> kernel [in, out]; "patch" a 1 x p x p convolution <->
# kernel [(p p C), out]; "vector" as it is; "rows" with a leading axis of 1.
_OUTER = (
    ("patch_embedding.weight", "patch_embedding/kernel", "patch"),
    ("patch_embedding.bias", "patch_embedding/bias", "vector"),
    ("text_embedding.0", "text_embedding/fc1", "dense"),
    ("text_embedding.2", "text_embedding/fc2", "dense"),
    ("time_embedding.0", "time_embedding/fc1", "dense"),
    ("time_embedding.2", "time_embedding/fc2", "dense"),
    ("time_projection.1", "time_embedding/projection", "dense"),
    ("head.modulation", "head/modulation", "rows"),
    ("head.head", "head/out", "dense"),
)
_LAYER = (
    ("modulation", "modulation", "rows"),
    *(
        (f"{part}.{name}", f"{part}/{name}", "dense")
        for part in ("self_attn", "cross_attn")
        for name in "qkvo"
    ),
    *(
        (f"{part}.{name}.weight", f"{part}/{name}/scale", "vector")
        for part in ("self_attn", "cross_attn")
        for name in ("norm_q", "norm_k")
    ),
    ("norm3.weight", "norm_cross/scale", "vector"),
    ("norm3.bias", "norm_cross/bias", "vector"),
    ("ffn.0", "ffn/fc1", "dense"),
    ("ffn.2", "ffn/fc2", "dense"),
)


def _expanded(table):
    for theirs, ours, kind in table:
        if kind == "dense":
            yield f"{theirs}.weight", f"{ours}/kernel", "linear"
            yield f"{theirs}.bias", f"{ours}/bias", "vector"
        else:
            yield theirs, ours, kind


OUTER = tuple(_expanded(_OUTER))
LAYER = tuple(
    (f"blocks.{{}}.{theirs}", f"blocks/{ours}", kind)
    for theirs, ours, kind in _expanded(_LAYER)
)


def to_ours(tensor: np.ndarray, kind: str) -> np.ndarray:
    """One of their tensors in our layout."""
    if kind == "linear":
        return tensor.T
    if kind == "patch":  # [D, C, 1, p, q] -> [(p q C), D]
        return tensor[:, :, 0].transpose(2, 3, 1, 0).reshape(-1, tensor.shape[0])
    return tensor[0] if kind == "rows" else tensor


def from_wan(tensors: dict[str, np.ndarray], layers: int) -> dict:
    """Parameters of our transformer from a Wan state dict.

    Raises:
      UserError: names are missing or left over; they are listed.
    """
    wanted = {theirs for theirs, _, _ in OUTER} | {
        theirs.format(i) for theirs, _, _ in LAYER for i in range(layers)
    }
    missing, extra = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted)
    if missing or extra:
        raise UserError(
            f"the weights do not fit a {layers}-layer transformer; "
            f"missing: {', '.join(missing) or 'none'}; "
            f"unexpected: {', '.join(extra) or 'none'}"
        )
    params: dict = {}
    for theirs, ours, kind in OUTER:
        _put(params, ours, to_ours(tensors[theirs], kind))
    for theirs, ours, kind in LAYER:
        stack = [to_ours(tensors[theirs.format(i)], kind) for i in range(layers)]
        _put(params, ours, np.stack(stack))
    return params


def _put(tree: dict, path: str, value) -> None:
    *parents, leaf = path.split("/")
    for name in parents:
        tree = tree.setdefault(name, {})
    tree[leaf] = value
