"""Sprite sessions as records with images: made on demand, or read from files.

Both sources hold the same records, {"images": uint8 [T, H, W, 3], "instructions": list
of N str, "answers": bool [N, H, W], "id": int}, under the same indices, and both are
what `grain.MapDataset.source` takes. An instruction such as "add a red ring somewhere"
has more than one right answer; the images show one of them, and "answers" is True where
any of them changes the image (nowhere, for an instruction with one answer). Sessions
made on demand may leave turns out behind the source: their records say so with
"follows", N bool, False where an image does not follow from the ones before. They may
also drop instructions: the null instruction then stands for an edit.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from anchoredit_jax.data.runs import Run, all_turns, successive
from anchoredit_jax.data.sprites.instructions import (
    NULL_INSTRUCTION,
    Edit,
    check_weights,
)
from anchoredit_jax.data.sprites.render import render
from anchoredit_jax.data.sprites.sessions import (
    DEFAULT_WEIGHTS,
    SpriteSession,
    check_layout,
    draw_skip,
    sample_session,
)
from anchoredit_jax.errors import UserError

ENDLESS = 2**31 - 1  # sessions of a source without an end: all indices of an int32


class SpriteSource:
    """Sessions made and rendered when asked for; see `sample_session`.

    Record i is the same for ever, whichever process makes it.
    """

    def __init__(
        self,
        turns: int,
        seed: int = 0,
        size: int = 32,
        weights: Mapping[str, float] = DEFAULT_WEIGHTS,
        null_fraction: float = 0.0,
        length: int = ENDLESS,
        layout: str = "chain",
        skip_turns: int = 0,
        skip_probability: float = 0.5,
        drop_fraction: float = 0.0,
    ):
        check_weights(weights)
        check_layout(layout)
        if layout == "star" and skip_turns:
            raise UserError("a star has no turns to leave out: skip_turns must be 0")
        self.turns = turns
        self.seed = seed
        self.size = size
        self.weights = dict(weights)
        self.null_fraction = null_fraction
        self.length = length
        self.layout = layout
        self.skip_turns = skip_turns
        self.skip_probability = skip_probability
        self.drop_fraction = drop_fraction

    def __len__(self) -> int:
        return self.length

    def skipped(self, index: int) -> int:
        """How many turns behind the source its record leaves out."""
        return draw_skip(self.seed, index, self.skip_turns, self.skip_probability)

    def session(self, index: int) -> SpriteSession:
        """The whole session behind a record, with its ground truth."""
        if not 0 <= index < self.length:
            raise IndexError(f"session {index} of {self.length}")
        return sample_session(
            self.seed,
            index,
            self.turns + self.skipped(index),
            self.weights,
            self.null_fraction,
            self.layout,
        )

    def __getitem__(self, index: int) -> dict:
        return self.records([int(index)])[0]

    def records(self, indices: Sequence[int]) -> list[dict]:
        """Several records, rendered together."""
        sessions = [self.session(index) for index in indices]
        runs = [self._run(session) for session in sessions]
        scenes = [
            session.scenes[frame]
            for session, run in zip(sessions, runs, strict=True)
            for frame in run.frames
        ]
        images = render(scenes, self.size)
        images = images.reshape(len(indices), self.turns + 1, *images.shape[1:])
        return [
            {
                "images": images[i],
                "instructions": self._instructions(session, run),
                "answers": np.stack(
                    [
                        _answers(session.edits[frame - 1], self.size)
                        for frame in run.frames[1:]
                    ]
                ),
                "follows": list(run.targets),
                "id": session.index,
            }
            for i, (session, run) in enumerate(zip(sessions, runs, strict=True))
        ]

    def _run(self, session: SpriteSession) -> Run:
        """What is shown of a session: the source and its last turns."""
        edits = len(session.edits)
        skipped = edits - self.turns
        return successive(all_turns(edits), skipped + 1 if skipped else 0, edits)

    def _instructions(self, session: SpriteSession, run: Run) -> list[str]:
        run = run.drop(self.drop_fraction, "sprites", self.seed, session.index)
        return [
            NULL_INSTRUCTION if turn is None else session.edits[turn].text
            for turn in run.turns
        ]


def _answers(edit: Edit, size: int) -> np.ndarray:
    """Bool [H, W]: where a right answer changes the image, if there are several."""
    if len(edit.valid) == 1:
        return np.zeros((size, size), bool)
    before, *answers = render((edit.before, *edit.valid), size)
    return (np.stack(answers) != before).any((0, -1))


class SpriteRecords:
    """Sessions read from the ArrayRecord files that `build_sprites` wrote."""

    def __init__(self, data_source: Any):
        self._data_source = data_source

    def __len__(self) -> int:
        return len(self._data_source)

    def __getitem__(self, index: int) -> dict:
        stored = self._data_source[int(index)]
        return {
            "images": np.stack(stored["images"]),
            "instructions": [text.decode() for text in stored["instructions"]],
            "answers": stored["answers"],
            "id": int(stored["id"]),
        }

    def records(self, indices: Sequence[int]) -> list[dict]:
        """Several records."""
        return [self[index] for index in indices]


def build_sprites(
    data_dir: str | Path,
    sessions: int,
    turns: int,
    seed: int = 0,
    size: int = 32,
    weights: Mapping[str, float] = DEFAULT_WEIGHTS,
    null_fraction: float = 0.0,
) -> Path:
    """Write sessions 0 .. `sessions` - 1 as a TFDS dataset and say where.

    A dataset that is there already is kept; an interrupted one leaves nothing behind
    that a reader would take for complete.

    Returns:
      The dataset's folder, for `open_sprites`.

    Raises:
      UserError: nothing to write, bad weights, or a `data_dir` that is a file.
    """
    for name, value in (("sessions", sessions), ("turns", turns)):
        if value < 1:
            raise UserError(f"{name} must be 1 or more, got {value}")
    check_weights(weights)
    if Path(data_dir).is_file():
        raise UserError(f"the data folder {data_dir} is a file; give a folder")
    from anchoredit_jax.data.sprites.builder import Sprites, SpritesConfig

    # TFDS finds datasets by name: another mixture of edits is another name.
    mixture = sorted((k, float(w)) for k, w in weights.items() if w)
    digest = crc32(repr((mixture, float(null_fraction))).encode())
    config = SpritesConfig(
        name=f"n{sessions}_t{turns}_px{size}_seed{seed}_{digest:08x}",
        sessions=sessions,
        turns=turns,
        seed=seed,
        size=size,
        weights=dict(weights),
        null_fraction=null_fraction,
    )
    builder = Sprites(data_dir=str(data_dir), config=config, file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_dir)


def open_sprites(folder: str | Path) -> SpriteRecords:
    """Random access to the sessions in a folder that `build_sprites` returned.

    Raises:
      UserError: there is no such dataset, or it was built by an older version.
    """
    if not (Path(folder) / "dataset_info.json").is_file():
        raise UserError(
            f"no sprite records in {folder}: expected the folder that build_sprites "
            "returned, with a dataset_info.json"
        )
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(folder))
    if "answers" not in builder.info.features:
        raise UserError(
            f"the sprite records in {folder} are of version {builder.version}, which "
            "does not say where turns have several right answers; build them again "
            "with build_sprites"
        )
    return SpriteRecords(builder.as_data_source(split="train"))
