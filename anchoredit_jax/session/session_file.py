"""A saved session: one safetensors file of latents, with the record as metadata.

It may come from anybody: all that it says is held against bounds and against its own
arrays before anything is computed of it or allocated for it.
"""

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from anchoredit_jax import files
from anchoredit_jax.data.images import MAX_PIXELS, Crop
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.session.loaded_model import MOST_TURNS, LoadedModel
from anchoredit_jax.session.shapes import check_asked
from anchoredit_jax.session.turns import MAX_SEED, Turn
from anchoredit_jax.strict import Bounded, FieldError, build_dataclass, result, shorten
from anchoredit_jax.version import __version__

FORMAT = "anchoredit_jax.session/1"
NAME = "session.safetensors"  # in the folder of a result


_SEED = f"[0, {MAX_SEED}]"


@dataclasses.dataclass(frozen=True)
class Origin(Bounded):
    """Which weights made a session: where they were, and their digest."""

    path: str | None
    weights: str = result(within=("ema", "params"))
    digest: str | None = result(None)


@dataclasses.dataclass(frozen=True)
class SavedTurn(Bounded):
    """What a turn was asked for."""

    instruction: str
    seed: int = result(within=_SEED)


@dataclasses.dataclass(frozen=True)
class Record(Bounded):
    """What is read of a session's record.

    Attributes:
      checkpoint: which weights made it.
      memory, sampler, crop, seed, max_turns: as of the session and its editor.
      turns: every turn but the source.
    """

    checkpoint: Origin
    memory: MemoryConfig
    sampler: SamplerConfig
    crop: Crop
    turns: tuple[SavedTurn, ...]
    seed: int = result(within=_SEED)
    max_turns: int | None = result(within=f"[1, {MOST_TURNS}]")

    def __post_init__(self) -> None:
        super().__post_init__()
        (height, width), (left, top, right, bottom) = self.crop.source, self.crop.box
        for name in ("source", "size"):
            size = getattr(self.crop, name)
            if min(size) < 1 or math.prod(size) > MAX_PIXELS:
                raise FieldError(
                    self,
                    f"crop.{name}",
                    f"must be (height, width) of 1 to {MAX_PIXELS:,} pixels, given "
                    f"{shorten(size)}",
                )
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise FieldError(
                self,
                "crop.box",
                f"must be (left, top, right, bottom) in an image of {width} x {height} "
                f"pixels, given {shorten(self.crop.box)}",
            )


@dataclasses.dataclass(frozen=True, eq=False)
class SavedSession:
    """What a session file holds.

    Attributes:
      latents: float32 [T, h, w, C], the source's first, then those of `record.turns`.
      source: uint8 [H, W, 3] at the size that it is edited at, `record.crop.size`.
      record: all else.
    """

    latents: np.ndarray
    source: np.ndarray
    record: Record


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
    """Write a session file; it appears whole or not at all.

    Raises:
      UserError: a file that is no session is there, or the disk refuses.
    """
    path = Path(path)
    files.check_replaceable(path, _is_session, "a saved session", "name another file")
    metadata = {"session": json.dumps(record)}
    try:
        with files.appearing(path, shared=True) as made:
            save_file(dict(tensors), made, metadata)
    except (OSError, SafetensorError) as error:
        raise UserError(f"session {str(path)!r} cannot be written: {error}") from error


def _is_session(path: Path) -> bool:
    try:
        with safe_open(path, framework="numpy") as reader:
            return "session" in (reader.metadata() or {})
    except (OSError, SafetensorError):
        return False


def read(path: str | os.PathLike) -> SavedSession:
    """Read a session file.

    Args:
      path: it, or the folder of a result, or the session.json in that.

    Raises:
      UserError: no such file, not a session file, or a damaged one.
    """
    path = os.fspath(_find(path))
    if not os.path.isfile(path):
        raise UserError(f"session {path!r} does not exist, or is no file")
    try:
        with safe_open(path, framework="numpy") as reader:
            text = (reader.metadata() or {}).get("session", "{}")
            record = _read_record(text)
            shapes = {
                name: (part.get_dtype(), tuple(part.get_shape()))
                for name in reader.keys()
                for part in [reader.get_slice(name)]
            }
            _check_arrays(shapes, record)
            saved = SavedSession(
                reader.get_tensor("latents"), reader.get_tensor("source"), record
            )
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path!r} is not a session file: {error}") from error
    except UserError as error:
        raise UserError(
            f"{path!r} is not a session file, or a damaged one: {error}"
        ) from error
    if not np.isfinite(saved.latents).all():
        raise UserError(
            f"{path!r} is a damaged session file: its latents are not finite (NaN or "
            "infinite)"
        )
    return saved


def _find(path: str | os.PathLike) -> Path:
    """The session file that a path means: the folder of a result, or its session.json,
    which has no pictures, stand for the file beside."""
    path = Path(path)
    if os.path.isdir(path):
        return path / NAME
    if path.suffix == ".json" and os.path.isfile(path):
        if not os.path.isfile(path.with_name(NAME)):
            raise UserError(
                f"{str(path)!r} tells what was done and holds no pictures: give "
                f"{NAME}, which is written beside it"
            )
        return path.with_name(NAME)
    return path


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
            origin = saved.record.checkpoint
            editor = LoadedModel.load(origin.path, origin.weights)
        except UserError as error:
            raise UserError(
                f"the weights of session {str(path)!r} cannot be loaded, pass an "
                f"editor that has them: {error}"
            ) from error
    record = saved.record
    digest = None if editor.lineage is None else editor.lineage.digest
    if digest != record.checkpoint.digest:
        raise UserError(
            f"session {str(path)!r} was made with weights {record.checkpoint.digest}, "
            f"the editor has {digest}"
        )
    height, width = record.crop.size
    check_asked(editor.run, (height, width))
    stride = editor.codec.stride
    expected = (height // stride, width // stride, editor.codec.channels)
    if saved.latents.shape[1:] != expected:
        raise UserError(
            f"{str(path)!r} is a damaged session file: latents of {height} x {width} "
            f"pixels must be {list(expected)}, found {list(saved.latents.shape[1:])}"
        )
    return editor.with_settings(record.memory, record.sampler, record.max_turns)


def _read_record(text: str) -> Record:
    """The record in a file's metadata; what it holds beside is for people."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"its record is not JSON: {error}") from error
    found = values.get("format") if isinstance(values, dict) else values
    if found != FORMAT:
        raise UserError(f"expected the format {FORMAT!r}, found {shorten(found)}")
    known = {field.name for field in dataclasses.fields(Record)}
    values = {name: value for name, value in values.items() if name in known}
    if isinstance(origin := values.get("checkpoint"), dict):
        values["checkpoint"] = {k: v for k, v in origin.items() if k != "lineage"}
    return build_dataclass(Record, values, "session")


def _check_arrays(
    shapes: Mapping[str, tuple[str, tuple[int, ...]]], record: Record
) -> None:
    """Refuse arrays of other dtypes or shapes than the record's, unread."""
    source = ("U8", (*record.crop.size, 3))
    dtype, shape = shapes.get("latents", ("", ()))
    frames = len(record.turns) + 1
    if dtype != "F32" or len(shape) != 4 or shape[0] != frames:
        raise UserError(
            f"expected latents F32 [{frames}, h, w, C], found {dtype} {list(shape)}"
        )
    if shapes.get("source") != source:
        raise UserError(f"expected a source {source}, found {shapes.get('source')}")
