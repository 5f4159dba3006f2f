"""The VAE's weights from published files to our tree and back."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from anchoredit_jax.checkpoint.assets import flatten, unflatten
from anchoredit_jax.convert.tensor_files import read_tensors
from anchoredit_jax.convert.vae_names import vae_names
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.wan_vae import WanVaeConfig

LAYOUTS = ("wan", "diffusers")
_LISTED = 12


class VaeWeights(NamedTuple):
    """A published VAE, split.

    Attributes:
      params: what `WanCodec` takes.
      temporal: what a still image never meets, by our path, as published: convolutions
        over time, and all but the last temporal slice of causal kernels.
    """

    params: dict[str, Any]
    temporal: dict[str, np.ndarray]


def load_vae(path: str | Path, config: WanVaeConfig) -> VaeWeights:
    """Weights from a file: the original `Wan2.1_VAE.pth`, or that of diffusers.

    Raises:
      UserError: see `read_tensors` and `import_vae`.
    """
    return import_vae(read_tensors(path), config)


def import_vae(tensors: Mapping[str, np.ndarray], config: WanVaeConfig) -> VaeWeights:
    """Weights from a state dict in either layout; which one shows in the names.

    Raises:
      UserError: names are missing or left over, or a shape is not that of `config`.
    """
    layout = "diffusers" if "quant_conv.weight" in tensors else "wan"
    names = {getattr(name, layout): name for name in vae_names(config)}
    missing, extra = (
        sorted(set(names) - set(tensors)),
        sorted(set(tensors) - set(names)),
    )
    if missing or extra:
        raise UserError(
            f"these weights are no Wan 2.1 VAE in the names of {layout}; "
            f"missing: {_listed(missing)}; unexpected: {_listed(extra)}"
        )
    used, temporal = {}, {}
    for theirs, name in names.items():
        tensor = np.asarray(tensors[theirs], np.float32)
        if tensor.shape != name.shape:
            raise UserError(
                f"VAE weight {theirs!r}: a VAE of dim {config.dim} has shape "
                f"{name.shape}, given {tensor.shape}"
            )
        if name.kind == "time":
            temporal[name.ours] = tensor
            continue
        used[name.ours] = _to_ours(tensor, name.kind)
        if name.kind == "causal" and tensor.shape[2] > 1:
            temporal[name.ours] = tensor[:, :, :-1]
    return VaeWeights(unflatten(used), temporal)


def export_vae(
    weights: VaeWeights, config: WanVaeConfig, layout: str = "wan"
) -> dict[str, np.ndarray]:
    """The inverse of `import_vae`: a complete state dict of `layout`, float32.

    Raises:
      UserError: an unknown layout, or weights that are incomplete or of another size.
    """
    if layout not in LAYOUTS:
        raise UserError(f"VAE layout must be one of {LAYOUTS}, got {layout!r}")
    params, tensors, missing = flatten(weights.params), {}, []
    for name in vae_names(config):
        earlier = name.kind == "causal" and name.shape[2] > 1
        wanted = [params] if name.kind != "time" else []
        wanted += [weights.temporal] if earlier or name.kind == "time" else []
        parts = [part[name.ours] for part in wanted if name.ours in part]
        if len(parts) < len(wanted):
            missing.append(name.ours)
            continue
        tensor = parts[0]
        if name.kind in ("causal", "conv"):
            tensor = tensor.transpose(3, 2, 0, 1)
        if name.kind == "causal":
            tensor = np.concatenate([*parts[1:], tensor[:, :, None]], axis=2)
        if tensor.size != np.prod(name.shape):
            raise UserError(
                f"VAE weight {name.ours!r} does not fit a VAE of dim {config.dim}: "
                f"expected {np.prod(name.shape)} values, given {tensor.size}"
            )
        tensors[getattr(name, layout)] = np.ascontiguousarray(
            tensor.reshape(name.shape), np.float32
        )
    if missing:
        raise UserError(
            "an export needs all parameters, and the temporal weights that came with "
            f"them; missing: {_listed(missing)}"
        )
    return tensors


def _to_ours(tensor: np.ndarray, kind: str) -> np.ndarray:
    if kind == "causal":
        tensor, kind = tensor[:, :, -1], "conv"
    if kind == "conv":
        return np.ascontiguousarray(tensor.transpose(2, 3, 1, 0))
    return tensor.reshape(-1)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (", ".join(names[:_LISTED]) or "none") + rest
