"""Batches by step: the batch of step s is a pure function of (config, s), design 4.

There is no iterator state to save: resuming at step s asks for `dataset[s]`, and the
number of threads that read ahead changes nothing. Session n of the plan is sample
n % batch of step n // batch.
"""

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import grain
import numpy as np
from absl import flags

from anchoredit_jax.data.session_batches import (
    ALL_ROWS,
    Host,
    SessionsConfig,
    open_session_steps,
)
from anchoredit_jax.data.sprites import (
    DEFAULT_WEIGHTS,
    ENDLESS,
    SpriteSource,
    open_sprites,
)
from anchoredit_jax.data.sprites.instructions import check_weights
from anchoredit_jax.data.sprites.render import MIN_SIZE
from anchoredit_jax.data.sprites.sessions import check_layout
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import Codec, from_uint8
from anchoredit_jax.models.text import TextEncoder
from anchoredit_jax.strict import FrozenMapping, result, unknown_name, way

NAMES = ("sprites", "sessions")

_STEPS = 2**31 - 1  # of a dataset; the plan has no end of its own


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which sessions a run trains on.

    Attributes:
      name: "sprites", procedural sessions with exact ground truth, or "sessions",
        prepared ones of images; `sessions` then says where they are.
      size: side of the images, pixels; of "sessions" the side of the square whose area
        they have.
      turns: N, edits of a session; its frames are T = N + 1. The most, of "sessions".
      batch: B, sessions of a step.
      seed: names an endless sequence of sessions, or the order of stored ones.
      sessions: of the name "sessions".

    Of "sprites" only:
      weights: kind of edit -> how often, relative to the others. Kinds that are not
        named never occur.
      null_fraction: probability that a turn has the null instruction and changes
        nothing, whatever the weights say.
      layout: "chain" (each edit follows the last) or "star" (all edit the source).
      skip_turns, skip_probability: this share of the sessions leaves 1 to `skip_turns`
        turns out behind the source. The first frame shown after them is history only.
        So the source may differ from the frame that is edited in more than the turns
        shown could change, as late in a long session, where a memory holds the source
        and a few recent frames.
      length: sessions before the sequence starts again; small ones are for overfitting.
      records: folder of sessions written by `sprites.build_sprites`, read instead of
        making them; then `seed`, `weights`, `null_fraction` and `length` are theirs,
        and they leave nothing out.
    """

    name: str = result("sprites")
    size: int = result(32)
    turns: int = result(1)
    batch: int = result(16)
    seed: int = result(0)
    sessions: SessionsConfig = SessionsConfig()
    weights: Mapping[str, float] = result(FrozenMapping(DEFAULT_WEIGHTS))
    null_fraction: float = result(0.05)
    layout: str = result("chain")
    skip_turns: int = result(0)
    skip_probability: float = result(0.5)
    length: int = result(ENDLESS)
    records: str | None = way(None)

    def __post_init__(self):
        if self.name not in NAMES:
            raise UserError(unknown_name(f"data.name '{self.name}'", self.name, NAMES))
        if (self.name == "sessions") != (self.sessions.path is not None):
            raise UserError(
                "data.sessions.path names prepared sessions for data.name 'sessions', "
                f"and is not read otherwise; given {self.sessions.path!r} with "
                f"data.name {self.name!r}"
            )
        for field in ("turns", "batch", "length"):
            if getattr(self, field) < 1:
                raise UserError(
                    f"data.{field} must be 1 or more, got {getattr(self, field)}"
                )
        if self.size < MIN_SIZE:
            raise UserError(f"data.size must be {MIN_SIZE} or more, got {self.size}")
        if self.length > ENDLESS:
            raise UserError(f"data.length must be at most {ENDLESS}, got {self.length}")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"data.seed must be in [0, 2**63), got {self.seed}")
        for field in ("null_fraction", "skip_probability"):
            if not 0 <= getattr(self, field) <= 1:
                raise UserError(
                    f"data.{field} must be in [0, 1], got {getattr(self, field)}"
                )
        if self.skip_turns and self.layout == "star":
            raise UserError(
                "data.skip_turns must be 0 with data.layout 'star', whose edits all "
                "start from the source"
            )
        if self.skip_turns < 0:
            raise UserError(f"data.skip_turns must be 0 or more, got {self.skip_turns}")
        if self.skip_turns and self.turns < 2:
            raise UserError(
                "data.skip_turns needs data.turns of 2 or more: the first frame after "
                "the turns left out is no target"
            )
        if self.skip_turns and self.records:
            raise UserError(
                "data.skip_turns must be 0 with data.records: stored sessions hold "
                "every turn"
            )
        check_weights(self.weights)
        check_layout(self.layout)


class SessionSource(Protocol):
    """Random access to {"images": uint8 [T, H, W, 3], "instructions", "id"} and, where
    they are known, "answers" and "follows"; see `sprites/source.py`."""

    def __len__(self) -> int: ...

    def records(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several records at once."""
        ...


def make_batches(
    config: DataConfig,
    codec: Codec,
    text: TextEncoder,
    source: SessionSource | None = None,
    *,
    patch: int = 1,
    host: Host = ALL_ROWS,
    quiet: bool = False,
) -> grain.MapDataset:
    """A dataset whose element s is the batch of step s, as `collate` makes it.

    Args:
      source: sessions to take instead of those that `config` names.
      patch: side in latents of a token; the sides of "sessions" are whole tokens.
      host: whose rows of the batches to make.
      quiet: leave out what is printed to stderr of "sessions": which buckets never
        fill a batch.

    Raises:
      UserError: the images do not fit the codec, or the records not the config.
    """
    if source is None and config.name == "sessions":
        steps = open_session_steps(
            config.sessions,
            size=config.size,
            turns=config.turns,
            batch=config.batch,
            seed=config.seed,
            codec=codec,
            text=text,
            patch=patch,
            host=host,
        )
        if not quiet:
            print(steps.coverage(), file=sys.stderr)
        return grain.MapDataset.source(steps)
    if source is None:
        source = make_source(config)
    if config.size % codec.stride:
        raise UserError(
            f"data.size {config.size} is no multiple of the codec's stride "
            f"{codec.stride}"
        )
    steps = _StepSource(source, host.rows(config.batch), config.batch, codec, text)
    return grain.MapDataset.source(steps)


def make_source(config: DataConfig) -> SessionSource:
    """The sessions that a config names.

    Raises:
      UserError: stored records are missing, or of another size or number of turns.
    """
    if config.records is None:
        return SpriteSource(
            turns=config.turns,
            seed=config.seed,
            size=config.size,
            weights=config.weights,
            null_fraction=config.null_fraction,
            length=config.length,
            layout=config.layout,
            skip_turns=config.skip_turns,
            skip_probability=config.skip_probability,
        )
    source = open_sprites(config.records)
    expected = (config.turns + 1, config.size, config.size, 3)
    found = source.records([0])[0]["images"].shape
    if found != expected:
        raise UserError(
            f"data.records {config.records!r} holds sessions of shape {found}; "
            f"data.turns {config.turns} and data.size {config.size} ask for {expected}"
        )
    return source


def iterate_batches(
    dataset: grain.MapDataset,
    start_step: int = 0,
    *,
    threads: int = 1,
    read_ahead: int = 4,
    workers: int = 0,
) -> Iterator[dict[str, np.ndarray]]:
    """The batches of steps `start_step`, `start_step + 1`, ... without end.

    Args:
      threads: how many make batches while the caller computes; 0 for none.
      read_ahead: batches made before they are asked for.
      workers: processes that make them instead; the batches are the same.
    """
    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=read_ahead if threads else 0
    )
    rest = dataset[start_step:] if start_step else dataset
    stream = rest.to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():  # Grain reads some; nobody here sets them
            flags.FLAGS.mark_as_parsed()
        share = max(1, read_ahead // workers)
        stream = stream.mp_prefetch(grain.MultiprocessingOptions(workers, share))
    batches = iter(stream)
    try:
        yield from batches
    finally:
        batches.close()  # ends the threads


def collate(
    records: Sequence[Mapping[str, Any]], codec: Codec, text: TextEncoder
) -> dict[str, np.ndarray]:
    """Sessions -> one batch; shorter ones are padded with their last frame.

    Args:
      records: B of them, images of one size.

    Returns:
      latents float32 [B, T, h, w, C], text float32 [B, N, S, Dt] (N = T - 1; prompt n
      belongs to frame n + 1, zeros where there is none), null_text float32 [B, S, Dt]
      (the null instruction, the same for all), id int32 [B], frame_valid float32 [B, T]
      (0 where a frame is no target: padding, or not to be known from the frames
      before), answers float32 [B, T, h, w] (1 where any of several right answers to a
      frame's instruction changes the image; 0 where the answer is one).
    """
    frames = max(len(record["images"]) for record in records)
    images = np.stack([_pad(record["images"], frames) for record in records])
    prompts = [
        prompt
        for record in records
        for prompt in _pad_prompts(record["instructions"], frames - 1)
    ]
    embedded = text.encode(prompts)
    null = text.encode([""])
    return {
        "latents": np.ascontiguousarray(codec.encode(from_uint8(images)), np.float32),
        "text": embedded.reshape(len(records), frames - 1, *embedded.shape[1:]),
        "null_text": np.repeat(null, len(records), axis=0),
        "id": np.array([record["id"] for record in records], np.int32),
        "frame_valid": np.stack([_valid(record, frames) for record in records]),
        "answers": np.stack(
            [_answers(record, frames, codec.stride) for record in records]
        ),
    }


class _StepSource:
    """Element s is the batch of step s."""

    def __init__(
        self,
        sessions: SessionSource,
        rows: np.ndarray,
        batch: int,
        codec: Codec,
        text: TextEncoder,
    ):
        self._sessions = sessions
        self._rows = rows
        self._batch = batch
        self._codec = codec
        self._text = text

    def __len__(self) -> int:
        return _STEPS

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        first = int(step) * self._batch
        size = len(self._sessions)
        indices = [(first + row) % size for row in self._rows.tolist()]
        return collate(self._sessions.records(indices), self._codec, self._text)


def _pad(images: np.ndarray, frames: int) -> np.ndarray:
    missing = frames - len(images)
    return np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])


def _valid(record: Mapping[str, Any], frames: int) -> np.ndarray:
    """Float32 [T], 0 for padding and for frames that follow from nothing shown."""
    valid = np.float32(np.arange(frames) < len(record["images"]))
    follows = record.get("follows", ())
    valid[1 : 1 + len(follows)] *= follows
    return valid


def _answers(record: Mapping[str, Any], frames: int, stride: int) -> np.ndarray:
    """Float32 [T, h, w], 0 for the source and for padding; a latent counts where any of
    its pixels does."""
    height, width = (side // stride for side in record["images"].shape[1:3])
    mask = np.zeros((frames, height, width), np.float32)
    if "answers" in record:
        pixels = record["answers"].reshape(-1, height, stride, width, stride)
        mask[1 : 1 + len(pixels)] = pixels.any((2, 4))
    return mask


def _pad_prompts(prompts: Sequence[str], count: int) -> list[str]:
    return [*prompts, *[""] * (count - len(prompts))]
