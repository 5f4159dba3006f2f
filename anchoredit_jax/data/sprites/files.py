"""Sprite sessions as a person has sessions: image files in tar shards and in folders.

What `data.sessions` reads: `<id>.<n>.<ext>` and `<id>.json`, half of the sessions in
shards, the others in a folder each. Lengths, shapes and formats are mixed, and follow
from (seed, index) alone.
"""

import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from anchoredit_jax.data.buckets import Size
from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.sessions.pack import write_shard
from anchoredit_jax.data.sprites.render import both_sides, render
from anchoredit_jax.data.sprites.sessions import SpriteSession, sample_session
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import appearing

SHARD = 500  # sessions
JPEG_QUALITY = 96


@dataclasses.dataclass(frozen=True)
class FilesConfig:
    """Which sessions are written, and how.

    Attributes:
      sessions: how many, indices 0, 1, .. of the seed.
      seed: names the sequence of sessions.
      shapes: (height, width) in pixels; every session has one of them.
      turns: fewest and most turns of a session.
      first_turns: only so many turns of each are written, from its first; None: all.
    """

    sessions: int
    shapes: Sequence[Size]
    seed: int = 0
    turns: tuple[int, int] = (3, 14)
    first_turns: int | None = None

    def __post_init__(self):
        low, high = self.turns
        if self.sessions < 2 or not 1 <= low <= high or not self.shapes:
            raise UserError(
                "files of sprites: expected 2 sessions or more, shapes, and turns from "
                f"1 upwards, given {self.sessions}, {self.shapes} and {self.turns}"
            )
        if self.first_turns is not None and self.first_turns < 1:
            raise UserError(f"first_turns must be 1 or more, given {self.first_turns}")
        for shape in self.shapes:
            both_sides(shape)

    def session(self, index: int) -> SpriteSession:
        """Session `index`, of its own number of turns."""
        low, high = self.turns
        turns = low + self._draw(index, "turns") % (high - low + 1)
        whole = sample_session(self.seed, index, turns)
        shown = self.first_turns or turns
        return SpriteSession(index, whole.scenes[: shown + 1], whole.edits[:shown])

    def shape(self, index: int) -> Size:
        """(height, width) of all images of a session."""
        return self.shapes[self._draw(index, "shape") % len(self.shapes)]

    def is_jpeg(self, index: int) -> bool:
        """Whether a session's images are JPEG files, else PNG."""
        return bool(self._draw(index, "format") % 2)

    def _draw(self, index: int, purpose: str) -> int:
        return key_of("sprite files", self.seed, index, purpose)


def write_sprite_files(out: str | Path, config: FilesConfig) -> Path:
    """Write the sessions to the folder `out`, which appears whole or not at all.

    A folder that is there is kept, so that the same call twice writes once.

    Returns:
      `out`.

    Raises:
      UserError: `out` is a file.
    """
    out = Path(out)
    if out.is_file():
        raise UserError(f"{str(out)!r} is a file; give a folder")
    if out.is_dir():
        return out
    with appearing(out) as part:
        _write_files(part, config)
    return out


def _write_files(out: Path, config: FilesConfig) -> None:
    out.mkdir()
    in_shards = config.sessions // 2
    for first in range(0, in_shards, SHARD):
        indices = range(first, min(first + SHARD, in_shards))
        members = (file for index in indices for file in session_files(config, index))
        write_shard(out / f"sprites-{first:06d}.tar", members)
    for index in range(in_shards, config.sessions):
        for name, data in session_files(config, index):
            path = out / name.split(".")[0] / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)


def session_files(config: FilesConfig, index: int) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the document and the images of a session."""
    session, key = config.session(index), f"sprite{index:06d}"
    texts = [{"en": edit.text} for edit in session.edits]
    yield f"{key}.json", json.dumps({"instructions": texts}).encode()
    jpeg = config.is_jpeg(index)
    for number, image in enumerate(render(session.scenes, config.shape(index))):
        yield f"{key}.{number}.{'jpg' if jpeg else 'png'}", _encode(image, jpeg)


def _encode(image: np.ndarray, jpeg: bool) -> bytes:
    file = io.BytesIO()
    if jpeg:
        Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()
