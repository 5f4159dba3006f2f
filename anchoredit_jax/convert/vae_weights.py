"""The VAE's weights from published files to our tree and back."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from anchoredit_jax.checkpoint.assets import flatten, unflatten
from anchoredit_jax.convert.tensor_files import read_tensors
from anchoredit_jax.convert.vae_names import Name, vae_names
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
    return import_vae(read_tensors([path]), config)


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
        parameter, carried = _shapes(name)
        if parameter:
            used[name.ours] = _to_ours(tensor, name.kind)
        if carried:
            temporal[name.ours] = tensor[:, :, :-1] if parameter else tensor
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
    names = vae_names(config)
    given = (flatten(weights.params), weights.temporal)
    wanted = [
        {name.ours: shape for name in names if (shape := _shapes(name)[part])}
        for part in range(2)
    ]
    missing = sorted(set(wanted[0]) - set(given[0]) | set(wanted[1]) - set(given[1]))
    extra = sorted(set(given[0]) - set(wanted[0]) | set(given[1]) - set(wanted[1]))
    if missing or extra:
        raise UserError(
            "an export needs the VAE's parameters and the temporal weights that came "
            f"with them; missing: {_listed(missing)}; unexpected: {_listed(extra)}"
        )
    for have, want in zip(given, wanted, strict=True):
        for ours, shape in want.items():
            if have[ours].shape != shape:
                raise UserError(
                    f"VAE weight {ours!r}: a VAE of dim {config.dim} has shape "
                    f"{shape}, given {have[ours].shape}"
                )
    return {
        getattr(name, layout): _to_theirs(
            *(part.get(name.ours) for part in given), name
        )
        for name in names
    }


def _shapes(name: Name) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Shapes of the parameter and of what is carried; None where there is no such."""
    shape = name.shape
    if name.kind == "time":
        return None, shape
    if name.kind == "causal":
        out, into, time, *sides = shape
        carried = (out, into, time - 1, *sides) if time > 1 else None
        return (*sides, into, out), carried
    if name.kind == "conv":
        return (*shape[2:], shape[1], shape[0]), None
    return shape[:1], None


def _to_ours(tensor: np.ndarray, kind: str) -> np.ndarray:
    if kind == "causal":
        tensor, kind = tensor[:, :, -1], "conv"
    if kind == "conv":
        return np.ascontiguousarray(tensor.transpose(2, 3, 1, 0))
    return tensor.reshape(-1)


def _to_theirs(
    used: np.ndarray | None, carried: np.ndarray | None, name: Name
) -> np.ndarray:
    if used is None:
        return carried
    if name.kind in ("causal", "conv"):
        used = used.transpose(3, 2, 0, 1)
    if carried is not None:
        used = np.concatenate([carried, used[:, :, None]], axis=2)
    return np.ascontiguousarray(used.reshape(name.shape), np.float32)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (", ".join(names[:_LISTED]) or "none") + rest
