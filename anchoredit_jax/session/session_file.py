"""A saved session: one safetensors file of latents, with the record as metadata."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from anchoredit_jax import files
from anchoredit_jax.data.images import Crop
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.session.loaded_model import LoadedModel
from anchoredit_jax.session.turns import Turn
from anchoredit_jax.strict import build_dataclass
from anchoredit_jax.version import __version__

FORMAT = "anchoredit_jax.session/1"


@dataclasses.dataclass(frozen=True, eq=False)
class SavedSession:
    """What a session file holds.

    Attributes:
      latents: float32 [T, h, w, C], the source's first.
      source: uint8 [H, W, 3] at the size that it is edited at, `crop.size`.
      turns: (instruction, seed) of every turn but the source.
      seed, crop, memory, sampler, max_turns: as of the session and its editor.
      checkpoint, weights, digest: which weights made it.
    """

    latents: np.ndarray
    source: np.ndarray
    turns: tuple[tuple[str, int], ...]
    seed: int
    crop: Crop
    memory: MemoryConfig
    sampler: SamplerConfig
    max_turns: int | None
    checkpoint: str | None
    weights: str
    digest: str | None


def make_record(
    editor: LoadedModel, turns: Sequence[Turn], seed: int
) -> dict[str, Any]:
    """Instructions, seeds, settings, crop and the origin of the weights, as JSON."""
    lineage = editor.lineage
    record = {
        "format": FORMAT,
        "version": __version__,
        "checkpoint": {
            "path": editor.checkpoint,
            "weights": editor.weights,
            "digest": None if lineage is None else lineage.digest,
            "lineage": None if lineage is None else lineage.describe(),
        },
        "memory": dataclasses.asdict(editor.memory),
        "max_turns": editor.max_turns,
        "sampler": dataclasses.asdict(editor.sampler),
        "seed": seed,
        "crop": dataclasses.asdict(turns[0].crop),
        "kept": round(turns[0].crop.kept, 4),
        "turns": [
            {"instruction": turn.instruction, "seed": turn.seed} for turn in turns[1:]
        ],
    }
    return json.loads(json.dumps(record))


def write(
    path: str | os.PathLike, record: Mapping[str, Any], tensors: Mapping[str, Any]
) -> None:
    """Write a session file; it appears whole or not at all."""
    path = Path(path)
    metadata = {"session": json.dumps(record)}
    try:
        with files.appearing(path, shared=True) as made:
            save_file(dict(tensors), made, metadata)
    except (OSError, SafetensorError) as error:
        raise UserError(f"session {str(path)!r} cannot be written: {error}") from error


def read(path: str | os.PathLike) -> SavedSession:
    """Read a session file.

    Raises:
      UserError: no such file, not a session file, or a damaged one.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"session {str(path)!r} does not exist")
    try:
        with safe_open(path, framework="numpy") as reader:
            metadata = reader.metadata() or {}
            tensors = {name: reader.get_tensor(name) for name in reader.keys()}
        record = json.loads(metadata.get("session", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{str(path)!r} is not a session file: {error}") from error
    if record.get("format") != FORMAT:
        raise UserError(
            f"{str(path)!r} is not a session file: expected format {FORMAT!r}, found "
            f"{record.get('format')!r}"
        )
    try:
        saved = _from_record(record, tensors)
    except (LookupError, TypeError) as error:
        raise UserError(f"session {str(path)!r} is damaged: {error!r}") from error
    if len(saved.latents) != len(saved.turns) + 1:
        raise UserError(
            f"session {str(path)!r} is damaged: {len(saved.latents)} frames for "
            f"{len(saved.turns)} turns"
        )
    return saved


def find_editor(
    path: str | os.PathLike,
    saved: SavedSession,
    editor: LoadedModel | None,
) -> LoadedModel:
    """An editor of the session's weights with the session's settings.

    Raises:
      UserError: the weights cannot be loaded, or are not those of the session; or the
        frames are of other sizes than the source.
    """
    if editor is None:
        try:
            editor = LoadedModel.load(saved.checkpoint, saved.weights)
        except UserError as error:
            raise UserError(
                f"the weights of session {str(path)!r} cannot be loaded, pass an "
                f"editor that has them: {error}"
            ) from error
    stride = editor.codec.stride
    sizes = saved.crop.size, saved.source.shape[:2]
    if {(h // stride, w // stride) for h, w in sizes} != {saved.latents.shape[1:3]}:
        raise UserError(
            f"session {str(path)!r} is damaged: latents {list(saved.latents.shape)} of "
            f"{sizes[1][0]} x {sizes[1][1]} pixels, cut to {sizes[0][0]} x "
            f"{sizes[0][1]}"
        )
    digest = None if editor.lineage is None else editor.lineage.digest
    if digest != saved.digest:
        raise UserError(
            f"session {str(path)!r} was made with weights {saved.digest}, the editor "
            f"has {digest}"
        )
    return editor.with_settings(saved.memory, saved.sampler, saved.max_turns)


def _from_record(record: Mapping[str, Any], tensors: Mapping) -> SavedSession:
    origin = record["checkpoint"]
    return SavedSession(
        latents=tensors["latents"],
        source=tensors["source"],
        turns=tuple((turn["instruction"], turn["seed"]) for turn in record["turns"]),
        seed=record["seed"],
        crop=build_dataclass(Crop, record["crop"], "crop"),
        memory=build_dataclass(MemoryConfig, record["memory"], "memory"),
        sampler=build_dataclass(SamplerConfig, record["sampler"], "sampler"),
        max_turns=record["max_turns"],
        checkpoint=origin["path"],
        weights=origin["weights"],
        digest=origin["digest"],
    )
