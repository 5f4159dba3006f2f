"""Sprite sessions in files, the same records as those of `SpriteSource`."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from anchoredit_jax.data.record_files import (
    count_records,
    open_records,
    write_records,
)
from anchoredit_jax.data.seals import reading
from anchoredit_jax.data.sprites.source import SpriteSource
from anchoredit_jax.errors import UserError

_REBUILD = "remove that folder and build the sprites again"
NOTES = {
    "1.2.0": "Where turns have several right answers.",
    "1.1.0": "Which turns have one right answer; no colour twice in a scene.",
    "1.0.0": "First release.",
}


def build_sprites(data_dir: str | Path, source: SpriteSource) -> Path:
    """Write all sessions of a source as a TFDS dataset and say where.

    A dataset that is there already is kept; an interrupted one leaves nothing behind
    that a reader would take for complete.

    Args:
      source: Without turns left out or instructions dropped: both are drawn anew from
        whole sessions.

    Returns:
      The dataset's folder, for `open_sprites`.

    Raises:
      UserError: `data_dir` is a file, or the source leaves turns or instructions out.
    """
    if Path(data_dir).is_file():
        raise UserError(f"the data folder {data_dir} is a file; give a folder")
    if source.skip_turns or source.drop_fraction or source.layout != "chain":
        raise UserError("only whole chains are stored: no skip_turns or drop_fraction")
    # TFDS finds datasets by name: another mixture of edits is another name.
    mixture = sorted((k, float(w)) for k, w in source.weights.items() if w)
    digest = crc32(repr((mixture, float(source.null_fraction))).encode())
    size, turns = source.size, source.turns
    name = f"n{len(source)}_t{turns}_px{size}_seed{source.seed}_{digest:08x}"
    image = tfds.features.Image(
        shape=(size, size, 3), dtype=np.uint8, encoding_format="png"
    )
    features = {
        "images": tfds.features.Sequence(image, length=turns + 1),
        "instructions": tfds.features.Sequence(tfds.features.Text(), length=turns),
        "answers": tfds.features.Tensor(shape=(turns, size, size), dtype=np.bool_),
        "id": np.int64,
    }
    return write_records(
        data_dir,
        ("sprites", name),
        NOTES,
        features,
        _stored(source),
        "Procedural editing sessions with exact ground truth.",
    )


def open_sprites(folder: str | Path) -> "SpriteRecords":
    """Random access to the sessions in a folder that `build_sprites` returned.

    Raises:
      UserError: There is no such dataset, it was built by an older version, or
        something of it is missing or damaged.
    """
    if not (Path(folder) / "dataset_info.json").is_file():
        raise UserError(
            f"no sprite records in {folder}: expected the folder that build_sprites "
            "returned, with a dataset_info.json"
        )
    with reading(_what(folder), _REBUILD):
        builder = open_records(folder)
        count_records(builder)
    if "answers" not in builder.info.features:
        raise UserError(
            f"the sprite records in {folder} are of version {builder.version}, which "
            "does not say where turns have several right answers; build them again "
            "with build_sprites"
        )
    return SpriteRecords(builder.as_data_source(split="train"), folder)


class SpriteRecords:
    """Sessions read from the ArrayRecord files that `build_sprites` wrote."""

    def __init__(self, data_source: Sequence[Any], folder: str | Path):
        self._data_source, self._folder = data_source, folder

    def __len__(self) -> int:
        return len(self._data_source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        with reading(f"record {index} of {_what(self._folder)}", _REBUILD):
            return self._read(int(index))

    def _read(self, index: int) -> dict[str, Any]:
        stored = self._data_source[index]
        return {
            "images": np.stack(stored["images"]),
            "instructions": [text.decode() for text in stored["instructions"]],
            "answers": stored["answers"],
            "id": int(stored["id"]),
        }

    def records(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several records."""
        return [self[index] for index in indices]


def _what(folder: str | Path) -> str:
    return f"the sprite dataset {str(folder)!r}"


def _stored(source: SpriteSource) -> Iterator[dict[str, Any]]:
    for index in range(len(source)):
        record = source[index]
        del record["follows"]  # all of them do
        yield record | {"images": [_png(image) for image in record["images"]]}


def _png(image: np.ndarray) -> io.BytesIO:
    """A file object: TFDS would ask TensorFlow to compress an array."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    out.seek(0)
    return out
