"""Stage 1: single-turn, identity-preserving pretraining (docs/method.md, Single turn).

T = 2: a source and one edited frame, `temporal_stride` apart. Samples that share their
source may be packed into one sequence (`data.sprites.layout = "star"`): every edited
frame then sees the source and itself only, and stands at the same temporal position, so
that a source is encoded once for several targets. Null instructions, whose target is
the source itself, are part of the data (`data.null_fraction`), so that the model learns
to keep what it is not told to change.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp

from anchoredit_jax import randomness
from anchoredit_jax.arrays import Array, Float, Key
from anchoredit_jax.diffusion.samplers import noise_intervals
from anchoredit_jax.diffusion.timesteps import TimestepConfig, frame_timesteps
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models.transformer import Transformer
from anchoredit_jax.randomness import Purpose
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages import step as steps
from anchoredit_jax.stages.attention import (
    ATTENTION,
    TEACHER_FORCING,
    teacher_forced,
)
from anchoredit_jax.stages.passes import Pass
from anchoredit_jax.stages.sequence import SequenceLossConfig, sequence_loss
from anchoredit_jax.stages.stage import IMPORTED, Stage
from anchoredit_jax.strict import Bounded, result

# The source and itself: for T = 2 plain causal, for a star T - 1 samples.
VISIBILITY = FrameVisibility("causal", window=2, sink=1)


@dataclasses.dataclass(frozen=True)
class Options(Bounded):
    """What this stage adds to the shared settings.

    Attributes:
      attention: "causal" (the source sees itself), or of the reference
        "bidirectional" (the source sees the edited frame too) or "teacher_forcing" (a
        clean copy of both frames stands beside the noised ones).
      clean_source: probability that the source is given at timestep 0, as in editing;
        else it is noised at a level of its own (the reference: 0).
      from_scratch: whether random weights may be trained where there is no parent.
    """

    timesteps: TimestepConfig = TimestepConfig()
    loss: SequenceLossConfig = SequenceLossConfig()
    attention: str = result("causal", within=ATTENTION)
    clean_source: float = result(1.0, within="[0, 1]")
    from_scratch: bool = result(False)


def init_state(run: RunConfig, parent: steps.Params | None = None) -> steps.TrainState:
    """Fresh parameters, or the parent's averaged ones at step 0."""
    root = randomness.stage_key(run.seed, run.stage)
    key = randomness.step_key(root, 0, Purpose.INIT)
    params = parent["ema"] if parent else None
    if params is None:
        params = steps.random_params(run.model, key, run.text.length)
    return steps.make_train_state(params, run.optimizer)


def loss_fn(
    run: RunConfig, params: steps.Params, state: steps.TrainState, batch: steps.Batch
) -> tuple[Float[Array, " B"], Float[Array, " B"], steps.Metrics]:
    """(errors [B], weights [B], metrics) of one batch."""
    options, latents = run.options, batch["latents"]
    frames = latents.shape[1]
    root = randomness.stage_key(run.seed, run.stage)

    def keys(purpose: Purpose) -> Key[Array, " B"]:
        return randomness.sample_keys(root, state.step, batch["id"], purpose)

    timesteps = draw_timesteps(keys(Purpose.TIMESTEPS), frames, options.timesteps)
    clean = randomness.uniforms(keys(Purpose.HISTORY)) < options.clean_source
    timesteps = timesteps.at[:, 0].set(jnp.where(clean, 0.0, timesteps[:, 0]))
    network: Any = functools.partial(Transformer(run.model).apply, text=batch["text"])
    positions = jnp.minimum(jnp.arange(frames, dtype=jnp.float32), 1.0)[None]
    rule = _visibility(run, frames)
    velocity = functools.partial(network, visibility=rule, positions=positions)
    if rule == TEACHER_FORCING:
        velocity = teacher_forced(network, latents, positions)
    errors, kept, metrics, _ = sequence_loss(
        functools.partial(velocity, {"params": params}),
        latents,
        latents,
        timesteps,
        randomness.normals(keys(Purpose.NOISE), latents.shape[1:]),
        batch["frame_valid"],
        options.loss,
        run.model.patch,
        before=latents[:, :1],
        answers=batch["answers"],
        intervals=noise_intervals(run.sampler),
    )
    return errors, kept, metrics


def draw_timesteps(
    keys: Key[Array, " B"], frames: int, config: TimestepConfig
) -> Float[Array, "B T"]:
    """Timesteps [B, T] from keys [B]."""
    draws = randomness.uniforms(keys, (frames + 2,))
    return frame_timesteps(draws[:, 0], draws[:, 1], draws[:, 2:], config)


def draw_targets(keys: Key[Array, " B"], run: RunConfig) -> Float[Array, "B N"]:
    """Timesteps [B, N] of the edited frames."""
    frames = run.data.turns + 1
    return draw_timesteps(keys, frames, run.options.timesteps)[:, 1:]


def _visibility(run: RunConfig, frames: int) -> FrameVisibility:
    """The rule of a sequence, with its clean copy where it has one."""
    if run.options.attention == "causal":
        return VISIBILITY
    if frames > 2:
        raise UserError(
            f"options.attention '{run.options.attention}' is for one edit a sequence, "
            f"given {frames - 1}: set data.turns=1, whose edits do not share a source"
        )
    if run.options.attention == "teacher_forcing":
        return TEACHER_FORCING
    return FrameVisibility("bidirectional")


def passes(run: RunConfig, frames: int) -> tuple[Pass, ...]:
    """The passes of one step, per sample: the sequence."""
    rule = _visibility(run, frames)
    length = 2 * frames if rule == TEACHER_FORCING else frames
    return (Pass("target", length, frames - 1, rule, gradient=True),)


STAGE = Stage(
    name="single_turn",
    options=Options,
    parents=("single_turn", IMPORTED),
    init_state=init_state,
    passes=passes,
    draw_targets=draw_targets,
    loss_fn=loss_fn,
)
