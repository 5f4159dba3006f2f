"""The configuration of published weights, which come without one.

What they are is found by their shapes, what belongs to them beside them; the rest is a
table of `models/presets.py`. Everything that no file says is told, a line each.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from anchoredit_jax.config import run_from_dict
from anchoredit_jax.convert.networks import HEAD_DIM, NETWORKS, preset_of
from anchoredit_jax.convert.published_files import EXPERTS, find_beside, other_expert
from anchoredit_jax.convert.source import Source, open_weights
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.presets import EDITING, REFERENCE_EDITING, UNKNOWN_EDITING
from anchoredit_jax.models.umt5 import UMT5_SIZES, make_umt5_config
from anchoredit_jax.models.wan_vae import make_vae_config
from anchoredit_jax.models.wan_vae.config import SIZES as VAE_SIZES
from anchoredit_jax.run_config import RunConfig

PROMPT_LENGTH = 512  # tokens, of every Wan


def published_run(
    source: Source, vae: str | Path | None = None, text: str | Path | None = None
) -> tuple[RunConfig, tuple[str, ...]]:
    """How a published transformer edits.

    Args:
      vae: weights of its VAE, text: folder of its UMT5; None: those beside it.

    Returns:
      (the configuration, what of it no file says, one line each).

    Raises:
      UserError: the number of heads is not known and is not that of a preset or of
        heads of Wan's size; or a VAE or UMT5 was named and is none.
    """
    told: list[str] = []
    known = _settings(source, told)
    folder = _model_folder(source.path)
    config = dict(
        stage="single_turn",
        model=dict(vars(source.config), dtype=known["dtype"]),
        codec=_codec(source, folder, vae, told),
        text=_text(source, folder, text, known["dtype"], told),
        memory=known["memory"],
        data=dict(size=known["side"]),
        sampler=known["sampler"],
    )
    return run_from_dict(config), tuple(told)


def _settings(source: Source, told: list[str]) -> dict[str, Any]:
    """An entry of `EDITING`, or what stands in for one."""
    model, preset = source.config, preset_of(source.config)
    known, whose = EDITING.get(preset or ""), f"as {preset}"
    if other := other_expert(source.path.absolute().parent):
        told.append(
            f"expert: {source.path.absolute().parent.name}, one of two; {other} beside "
            "it is another network, for the other levels of noise"
        )
    if known is None:
        known, whose = UNKNOWN_EDITING, "as Wan of other sizes"
        told.append(
            f"model: unknown geometry (dim {model.dim}, {model.num_layers} layers), "
            "taken from the weights"
        )
    else:
        told.append(f"model: {preset}, by its shapes")
    if not source.heads_told:
        if known is UNKNOWN_EDITING and model.head_dim != HEAD_DIM:
            raise UserError(
                f"{str(source.path)!r} does not tell the number of attention heads, "
                f"and width {model.dim} is no multiple of Wan's {HEAD_DIM}: give a "
                "configuration, or a config.json beside the file"
            )
        told.append(f"model.num_heads: {model.num_heads}, no shape tells")
    told.append(f"model.dtype, text.umt5.dtype: {known['dtype']}, {whose}")
    told.append(f"data.size: {known['side']} x {known['side']} pixels, {whose}")
    if source.dialect == "anchoredit":
        known = {**known, **REFERENCE_EDITING}
        whose = "as the reference's distilled checkpoints; one of an earlier stage "
        whose += "needs --sampler euler, --steps and --guidance"
    told.append(f"sampler: {_listed(known['sampler'])}, {whose}")
    keeps = _listed(known["memory"])
    if known["memory"]["window"] is None:
        keeps += " (all frames: sessions have a longest length, max_turns)"
    told.append(f"memory: {keeps}, {whose.partition(';')[0]}")
    return known


def _codec(
    source: Source, folder: Path, vae: str | Path | None, told: list[str]
) -> dict[str, Any]:
    channels = source.config.channels
    if vae is not None:
        size = _size(vae, "vae", VAE_SIZES, make_vae_config)
    elif channels != NETWORKS["vae"].usual.latent_channels:
        told.append(f"codec: no VAE of {channels} latent channels is known")
        return {}
    else:
        vae = _beside(folder, "vae", "--vae", told)
        size = vae and _size(vae, "vae", VAE_SIZES, make_vae_config, told)
    weights = None if vae is None else _absolute(vae)
    return dict(kind="wan_vae", wan_vae=dict(weights=weights, size=size or "wan"))


def _text(
    source: Source, folder: Path, text: str | Path | None, dtype: str, told: list[str]
) -> dict[str, Any]:
    dim, size = source.config.text_dim, None
    if text is not None:
        size = _size(text, "umt5", UMT5_SIZES, make_umt5_config)
    elif _beside(folder, "umt5", "--text", told):
        size = _size(folder, "umt5", UMT5_SIZES, make_umt5_config, told)
        if size is not None and make_umt5_config(size).dim != dim:
            size = None
    if size is None and dim == NETWORKS["umt5"].usual.dim:
        size = "umt5_xxl"
    if size is None:
        told.append(f"text: no UMT5 of width {dim} is known")
        return dict(dim=dim)
    umt5 = dict(folder=_absolute(text or folder), size=size, dtype=dtype)
    return dict(kind="umt5", length=PROMPT_LENGTH, dim=dim, umt5=umt5)


def _beside(folder: Path, network: str, flag: str, told: list[str]) -> Path | None:
    try:
        found = find_beside(folder, network)
    except UserError as error:
        told.append(f"{network}: {error}, or name one with {flag}")
        return None
    if found is None:
        told.append(
            f"{network}: none beside the weights, in {str(folder)!r}: name one with "
            f"{flag} when you edit"
        )
    return found


def _size(
    path: str | Path,
    network: str,
    sizes: Collection[str],
    make: Callable,
    told: list[str] | None = None,
) -> str | None:
    """The name of the size of what lies there; None, and told, if it cannot be read and
    nobody asked for just that (`told` given)."""
    try:
        config = open_weights(path, network=network).config
    except UserError as error:
        if told is None:
            raise
        told.append(f"{network}: of the usual size, it cannot be read now: {error}")
        return None
    for size in sizes:
        if make(size) == config:
            return size
    raise UserError(
        f"{str(path)!r} holds a {network} of a size that is none of {', '.join(sizes)}"
    )


def _model_folder(path: Path) -> Path:
    """Where the transformer's file lies, or the pipeline of diffusers around it."""
    folder = path.absolute().parent
    experts = [name for pair in EXPERTS.values() for name in pair]
    return folder.parent if folder.name in experts else folder


def _absolute(path: str | Path) -> str:
    return str(Path(path).absolute())


def _listed(settings: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, tuple):
            return "/".join(f"{item:g}" for item in value)
        return f"{value:g}" if isinstance(value, float) else str(value).lower()

    return ", ".join(f"{name} {shown(value)}" for name, value in settings.items())
