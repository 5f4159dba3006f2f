"""What an export cannot say by its names, and the card beside it that says it.

Published code takes weights to be used as Wan's are. What of ours is otherwise has no
place in the files of any dialect: an export names it, and a card tells it to people.
"""

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from anchoredit_jax.convert.source import Source
from anchoredit_jax.files import (
    check_replaceable,
    read_json,
    write_json,
    write_text,
)
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.strict import ASSUMED, deciding
from anchoredit_jax.version import __version__

CARD, SETTINGS = "README.md", "anchoredit.json"
_WRITTEN = "Written by anchoredit_jax"
USES = {  # of settings that published code does not know: what it has to do
    "prediction": "the output is the clean latents x_0; the velocity is (x - x_0) / "
    "sigma",
    "spatial_stride": "rotary positions of rows and columns are multiplied by it",
    "temporal_stride": "rotary positions of frames are multiplied by it",
    "source_prompt": "frame 0 attends only to this part of the first prompt",
    "text_visibility": "a frame attends to its own prompt, or to all so far",
}


def losses(source: Source) -> list[str]:
    """Settings that no file of a dialect holds and its code takes to be others, as
    "name value (Wan's code: value)"."""
    if source.run is None:
        return []
    usual = {f.name: f.default for f in dataclasses.fields(TransformerConfig)}
    return [
        f"{name} {value!r} (Wan's code: {usual[name]!r})"
        for name, decides in deciding(TransformerConfig).items()
        if decides == ASSUMED
        and (value := getattr(source.run.model, name)) != usual[name]
    ]


def settings(source: Source, dialect: str, lost: Collection[str] = ()) -> dict:
    """All that is known of the weights, as JSON values."""
    told: dict[str, Any] = {
        "anchoredit_jax": __version__,
        "network": source.network.name,
        "dialect": dialect,
        "weights": source.weights,
        "step": source.step,
    }
    if source.lineage is not None:
        told["lineage"] = source.lineage.to_dict()
    if source.run is not None:
        told |= {
            "not_in_the_dialect": list(lost),
            "assumed": list(source.assumptions),
            **{
                section: json.loads(json.dumps(vars(getattr(source.run, section))))
                for section in ("model", "memory", "sampler")
            },
            "codec": source.run.codec.kind,
            "text": source.run.text.kind,
            "size": source.run.data.size,
        }
    return told


def check_card(folder: Path, stem: str) -> None:
    """Refuse, before a file is exported, to write over others' files beside it.

    Raises:
      UserError: a file in the place of a card, or of its settings, is none.
    """

    def is_card(path: Path) -> bool:
        return _WRITTEN.encode() in path.read_bytes()

    def is_settings(path: Path) -> bool:
        return "anchoredit_jax" in read_json(path)

    for name, is_ours in ((CARD, is_card), (SETTINGS, is_settings)):
        what = "of an earlier export"
        path = folder / f"{stem}{name}"
        check_replaceable(path, is_ours, what, "remove it or name another --out")


def write_card(folder: Path, stem: str, source: Source, dialect: str, lost) -> None:
    """README.md and anchoredit.json, with `stem` before their names."""
    write_json(folder / f"{stem}{SETTINGS}", settings(source, dialect, lost), indent=2)
    write_text(folder / f"{stem}{CARD}", _card(source, dialect, lost))


def _card(source: Source, dialect: str, lost: Collection[str]) -> str:
    lines = [
        f"# Weights of a {source.network.name}, names of {dialect}",
        "",
        f"{_WRITTEN} {__version__}. All settings: `{SETTINGS}`.",
    ]
    if source.lineage is not None:
        lines += ["", f"Lineage: {source.lineage.describe()}"]
    if source.weights:
        kind = "the average" if source.weights == "ema" else source.weights
        lines += ["", f"These are {kind} of the training's weights."]
    run = source.run
    if run is None:
        return "\n".join(lines) + "\n"
    if lost:
        lines += [
            "",
            "## Not what Wan's code takes them for",
            "",
            "These settings have no place in the files. Code that does not follow them "
            "loads the weights and computes something else.",
            "",
            *(f"- {line}" for line in lost),
        ]
    lines += ["", "## How they are used", ""]
    lines += [
        f"- `model.{name}` = {getattr(run.model, name)!r}: {use}"
        for name, use in USES.items()
    ]
    for section in ("memory", "sampler"):
        values = ", ".join(f"{k} {v!r}" for k, v in vars(getattr(run, section)).items())
        lines.append(f"- `{section}`: {values}")
    lines += [
        f"- codec: {run.codec.kind}; text encoder: {run.text.kind}; images of "
        f"{run.data.size} pixels a side",
        "- attention is causal: a frame sees the frames in the memory and itself, and "
        "they are committed clean, at timestep 0 (docs/export.md of anchoredit_jax has "
        "code for it)",
    ]
    lines += [f"- assumed: {line}" for line in source.assumptions]
    return "\n".join(lines) + "\n"
