"""What a run is worth while it goes on: held-out sessions, predicted and edited.

Both read the weights between two steps and change nothing, so that a run has the same
bits with and without them. All processes of a run take part.
"""

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from PIL import Image

from anchoredit_jax.arrays import Params
from anchoredit_jax.data.held_out_sessions import HeldOutSession
from anchoredit_jax.data.kinds import KINDS
from anchoredit_jax.data.runs import padded_row, stack_rows
from anchoredit_jax.diffusion.samplers import noise_intervals
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models.codec import Codec, to_uint8
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.text import TextEncoder
from anchoredit_jax.parallel import batch_sharding, hosts, using
from anchoredit_jax.parallel.sharded import put
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.session.rollout import iterate_turns
from anchoredit_jax.stages import held_out as prediction
from anchoredit_jax.stages.breakdown import interval_name
from anchoredit_jax.stages.passes import Pass
from anchoredit_jax.stages.step import TrainState
from anchoredit_jax.training.held_out_scores import draw_edits, score_edits
from anchoredit_jax.training.work import pass_flops, step_flops

WEIGHTS = ("ema", "params")


class HeldOut:
    """The measures of one run, as its section `eval` asks for them."""

    def __init__(
        self,
        run: RunConfig,
        sessions: Sequence[HeldOutSession],
        codec: Codec,
        text: TextEncoder,
        mesh: Mesh,
    ):
        """
        Args:
          sessions: all of one size.
          codec: decodes edited frames.
          text: embeds the null instruction and the sampler's negative text.
        """
        self._run, self._mesh, self._codec = run, mesh, codec
        null, negative = np.asarray(text.encode(["", run.sampler.negative]), np.float32)
        self._groups = mesh.shape["data"] * mesh.shape["fsdp"]
        self._null, self._negative = null, negative
        self._batch = self._rows(sessions[: run.eval.sessions])
        self._edited = sessions[: run.eval.edits]

    def due(self, step: int) -> bool:
        """Whether anything is measured after this step."""
        return self._is_due(self._run.eval.every, step) or self._is_due(
            self._run.eval.edits_every, step
        )

    def measure(
        self, step: int, state: TrainState
    ) -> tuple[dict[str, float], Image.Image | None]:
        """What is due after a step: a row of metrics, and a sheet of edited sessions.

        All processes get the same row, as it may decide which checkpoints they keep;
        the first one draws the sheet.
        """
        row: dict[str, float] = {}
        sheet = None
        if self._is_due(self._run.eval.every, step):
            for weights in WEIGHTS:
                row |= self._errors(weights, getattr(state, weights))
        if self._is_due(self._run.eval.edits_every, step):
            scores, sheet = self._edit(state.ema)
            row |= scores
        return row, sheet

    def describe(self) -> str:
        """What is measured when, and the share of all operations that this takes."""
        told, asked = [], self._run.eval
        rows, frames = self._batch["latents"].shape[:2]
        tokens = self._tokens
        of_step = step_flops(self._run, frames, tokens, self._run.data.batch).total
        share = 0.0
        if asked.every:
            told.append(f"the loss on {rows} sessions every {asked.every} steps")
            (one,) = prediction.passes(self._run, frames)
            work = len(WEIGHTS) * pass_flops(self._run, one, tokens, rows).total
            share += work / asked.every
        if asked.edits_every:
            turns = max(len(session.instructions) for session in self._edited)
            told.append(
                f"{len(self._edited)} sessions edited over {turns} turns every "
                f"{asked.edits_every}"
            )
            share += self._edit_flops(turns, tokens) / asked.edits_every
        share /= share + of_step
        return f"held out: {', '.join(told)}; about {share:.1%} of all operations"

    @property
    def _tokens(self) -> int:
        height, width = self._batch["latents"].shape[2:4]
        return height * width // self._run.model.patch**2

    def _edit_flops(self, turns: int, tokens: int) -> float:
        sampler, memory = self._run.sampler, self._run.memory
        slots = turns if memory.window is None else memory.sink + memory.window
        guided = 1 if sampler.guidance == 1.0 else 2
        passes = turns * (len(sampler.schedule[0]) + 1)
        one = Pass("edit", 1, 1, past=slots, mean=passes, batch=guided)
        rows = 2 * len(self._edited)
        return pass_flops(self._run, one, tokens, rows).total

    def _is_due(self, every: int, step: int) -> bool:
        return bool(every) and (step % every == 0 or step == self._run.loop.steps)

    def _rows(self, sessions: Sequence[HeldOutSession]) -> Mapping[str, np.ndarray]:
        """The first turns of each session; of a stage that is trained on single edits
        one of its turns."""
        turns = 1 if trains_pairs(self._run) else self._run.data.turns
        rows = []
        for number, session in enumerate(sessions):
            start = number % len(session.instructions) if turns == 1 else 0
            shown = session.text[start : start + turns]
            latents = session.latents[start : start + len(shown) + 1]
            rows.append(padded_row(latents, shown, [True] * len(shown), turns))
        batch = stack_rows(_filled(rows, self._groups), self._ids(rows), self._null)
        batch["frame_valid"][len(rows) :] = 0
        return batch

    def _ids(self, rows: Sequence[Any]) -> list[int]:
        return _filled(list(range(len(rows))), self._groups)

    def _errors(self, weights: str, params: Params) -> dict[str, float]:
        place = batch_sharding(self._mesh)
        batch = {name: put(rows, place) for name, rows in self._batch.items()}
        levels = noise_intervals(self._run.sampler)
        intervals = np.array(levels, np.float32)
        with using(self._mesh):
            program = _program(self._run.model, self._run.memory, self._mesh)
            sums, counts = jax.device_get(program(params, batch, intervals))
        means, of_turn = sums.sum(1) / counts.sum(), sums.mean(0) / counts
        name = f"held_out/{weights}"
        row = {f"{name}/loss": float(means.mean())}
        row |= {
            f"{name}/noise/{interval_name(level)}": float(mean)
            for level, mean in zip(levels, means, strict=True)
        }
        if len(counts) > 1:
            row |= {
                f"{name}/turn/{turn}": float(mean)
                for turn, mean in enumerate(of_turn, 1)
            }
        return row

    def _edit(self, params: Params) -> tuple[dict[str, float], Image.Image | None]:
        """Edit the sessions as told, and as many times by the null instruction."""
        run, sessions = self._run, self._edited
        turns = max(len(session.instructions) for session in sessions)
        null = np.repeat(self._null[None], turns, axis=0)
        texts = [np.concatenate([s.text, null[len(s.text) :]]) for s in sessions]
        rows = _filled(
            [(s.latents[0], text) for s, text in zip(sessions, texts, strict=True)]
            + [(s.latents[0], null) for s in sessions],
            self._groups,
        )
        drawn = iterate_turns(
            run.model,
            params,
            self._mesh,
            np.stack([source for source, _ in rows]),
            np.stack([text for _, text in rows], axis=1),
            self._negative,
            run.sampler,
            run.memory,
            0,
            range(len(rows)),
            turns + 1 if run.memory.window is None else None,
        )
        latents = [_on_all_hosts(latent) for latent in drawn]
        frames = np.stack(
            [np.asarray(to_uint8(self._codec.decode(latent))) for latent in latents], 1
        )
        count = len(sessions)
        edited, kept = frames[:count], frames[count : 2 * count]
        sheet = draw_edits(sessions, edited) if hosts.is_lead() else None
        return score_edits(sessions, edited, kept), sheet


def open_held_out(
    run: RunConfig, codec: Codec, text: TextEncoder, mesh: Mesh
) -> HeldOut | None:
    """The measures of a run; None where it asks for none.

    Where its data has no held-out sessions that is told, and nothing is measured.
    """
    if not (run.eval.every or run.eval.edits_every):
        return None
    find = KINDS[run.data.kind].held_out
    turns = max(run.eval.turns if run.eval.edits_every else 1, run.data.turns)
    count = max(run.eval.sessions, run.eval.edits)
    sessions = find and find(run.data, codec, text, run.model.patch, count, turns)
    if sessions:
        return HeldOut(run, sessions, codec, text, mesh)
    if hosts.is_lead():
        print(
            "warning: no session is held out, so nothing is measured while this "
            "trains: hold out more, as by data.sessions.held_out=0.1, or turn the "
            "measures off by eval.every=0,eval.edits_every=0",
            file=sys.stderr,
        )
    return None


@functools.lru_cache(maxsize=8)  # one program serves the stages of a curriculum
def _program(model: TransformerConfig, memory: MemoryConfig, mesh: Mesh) -> Any:
    return jax.jit(
        functools.partial(prediction.errors_by_noise, model, memory),
        out_shardings=NamedSharding(mesh, PartitionSpec()),
    )


def trains_pairs(run: RunConfig) -> bool:
    """Whether a run is trained on single edits, perhaps several of one source."""
    star = run.data.sprites is not None and run.data.sprites.layout == "star"
    return star or run.data.turns == 1


def _filled(rows: list, parts: int) -> list:
    """As many as the mesh divides, by repeating the last."""
    return rows + [rows[-1]] * (-len(rows) % parts)


def _on_all_hosts(latents: jax.Array) -> np.ndarray:
    if latents.is_fully_addressable:
        return np.asarray(latents)
    return multihost_utils.process_allgather(latents, tiled=True)
