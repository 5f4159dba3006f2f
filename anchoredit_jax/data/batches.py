"""Batches by step: the batch of step s is a pure function of (config, s).

See docs/method.md, Determinism.

There is no iterator state to save: resuming at step s asks for `dataset[s]`, and the
number of threads that read ahead changes nothing. Session n of the plan is sample
n % batch of step n // batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.data.kinds import KINDS, SessionSource
from anchoredit_jax.data.legs import Leg
from anchoredit_jax.data.runs import padded_row, stack_rows
from anchoredit_jax.data.session_batches import (
    ALL_ROWS,
    STEPS,
    Host,
    SessionSteps,
    open_session_steps,
)
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import Codec, from_uint8
from anchoredit_jax.models.text import TextEncoder
from anchoredit_jax.orphans import end_with_parent

__all__ = ["DataConfig", "collate", "iterate_batches", "open_steps"]


def open_steps(
    config: DataConfig,
    codec: Codec,
    text: TextEncoder,
    source: SessionSource | None = None,
    *,
    patch: int = 1,
    host: Host = ALL_ROWS,
    legs: Sequence[Leg] = (),
) -> "SessionSteps | SourceSteps":
    """Random access to the batches of all steps, as `collate` makes them.

    Its `shapes` are (T, height, width) of the batches, each one compiled program.

    Args:
      source: sessions to take instead of those that `config` names.
      patch: side in latents of a token; the sides of "sessions" are whole tokens.
      host: says which rows of the batches to make.
      legs: of a steered run, the last of which is of `config`; none: it never was.

    Raises:
      UserError: the images do not fit the codec, or the records not the config.
    """
    sessions = config.sessions
    cached = sessions is not None and sessions.cache is not None
    if config.workers and not cached:
        if hasattr(codec, "params") or hasattr(text, "params"):
            raise UserError(
                "data.workers: worker processes would each hold the weights of codec "
                "and text encoder; make a feature cache of prepared sessions with "
                "launch/prepare_data.py --cache, or use 0 workers"
            )
    source = KINDS[config.kind].source(config) if source is None else source
    if source is None:
        return open_session_steps(
            config, codec, text, patch=patch, host=host, legs=legs
        )
    if config.size % codec.stride:
        raise UserError(
            f"data.size {config.size} is no multiple of the codec's stride "
            f"{codec.stride}"
        )
    return SourceSteps(source, config, host, codec, text, legs)


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

    Raises:
      UserError: one of the workers was ended from outside.
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
        stream = stream.mp_prefetch(
            grain.MultiprocessingOptions(workers, share), worker_init_fn=_begin_worker
        )
    batches = iter(stream)
    try:
        yield from batches
    except RuntimeError as error:
        if "process was terminated unexpectedly" not in str(error):
            raise
        raise UserError(
            f"one of the {workers} processes of data.workers was ended from outside, "
            "as by a lack of memory: the last checkpoint stands; run the same command "
            "again, with fewer of them"
        ) from error
    finally:
        batches.close()  # ends the threads


def _begin_worker(index: int, count: int) -> None:
    """Of a process that makes batches: it ends with the run, however that ends."""
    end_with_parent()


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
    turns = max(len(record["instructions"]) for record in records)
    images = np.concatenate([record["images"] for record in records])
    latents = np.ascontiguousarray(codec.encode(from_uint8(images)), np.float32)
    told = [text for record in records for text in record["instructions"]]
    prompts = text.encode([*told, ""])
    rows, start = [], 0
    for number, record in enumerate(records):
        stop = start + len(record["instructions"])
        shown = latents[start + number : stop + number + 1]
        rows.append(
            padded_row(
                shown,
                prompts[start:stop],
                record.get("follows", [True] * (stop - start)),
                turns,
                _answers(record, codec.stride),
            )
        )
        start = stop
    return stack_rows(rows, [record["id"] for record in records], prompts[-1])


class SourceSteps:
    """Element s is the batch of step s.

    Attributes:
      shapes: (T, height, width) of all batches, one entry.
    """

    def __init__(
        self,
        sessions: SessionSource,
        config: DataConfig,
        host: Host,
        codec: Codec,
        text: TextEncoder,
        legs: Sequence[Leg] = (),
    ):
        self._start, self._place = 0, 0
        if legs:
            self._start, self._place = legs[-1].step, legs[-1].place
        self.shapes = ((config.turns + 1, config.size, config.size),)
        self._sessions = sessions
        self._rows = host.rows(config.batch)
        self._batch = config.batch
        self._codec = codec
        self._text = text

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        first = self._place + (int(step) - self._start) * self._batch
        size = len(self._sessions)
        indices = [(first + row) % size for row in self._rows.tolist()]
        return collate(self._sessions.records(indices), self._codec, self._text)


def _answers(record: Mapping[str, Any], stride: int) -> np.ndarray | None:
    """[N, h, w]; a latent counts where any of its pixels does."""
    if "answers" not in record:
        return None
    height, width = (side // stride for side in record["images"].shape[1:3])
    pixels = record["answers"].reshape(-1, height, stride, width, stride)
    return pixels.any((2, 4))
