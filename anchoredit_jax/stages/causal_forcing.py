"""Stage 2: causal multi-turn forcing (docs/method.md, Causal forcing).

Every frame has its own noise level. What training sees of history is made to look like
what editing sees: clean (timestep 0), degraded, or replaced by the model's own
predictions (self-rollout). In one sequence a frame is target and history at once; a
replaced one is context then, never a target: its ground truth no longer follows from
what the model was shown. With the history beside the targets it stays one.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from anchoredit_jax import randomness
from anchoredit_jax.arrays import Array, Bool, Float, Int, Key
from anchoredit_jax.choices import SAMPLERS
from anchoredit_jax.diffusion import losses, schedule
from anchoredit_jax.diffusion.degradation import DegradeConfig
from anchoredit_jax.diffusion.samplers import SamplerConfig, noise_intervals
from anchoredit_jax.diffusion.timesteps import TimestepConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models.codec import Codec
from anchoredit_jax.models.transformer import Transformer
from anchoredit_jax.randomness import Purpose
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages import single_turn
from anchoredit_jax.stages import step as steps
from anchoredit_jax.stages.attention import (
    ATTENTION,
    TEACHER_FORCING,
    teacher_forced,
)
from anchoredit_jax.stages.context import (
    RoundTripFn,
    Velocity,
    VelocityOf,
    beside_history,
    draw_positions,
    draw_visibility,
    memory_visibility,
    swap_in,
    worsen,
)
from anchoredit_jax.stages.passes import Pass, rollout_passes
from anchoredit_jax.stages.rollout import generate_history, sequence_noise
from anchoredit_jax.stages.round_trip import make_round_trip
from anchoredit_jax.stages.sequence import SequenceLossConfig, sequence_loss
from anchoredit_jax.stages.stage import Stage, Step
from anchoredit_jax.strict import Bounded, result


@dataclasses.dataclass(frozen=True)
class RolloutConfig(Bounded, place="options.rollout"):
    """Self-rollout: history replaced by the model's own predictions.

    Attributes:
      kind: "none"; "one_pass" (the reference: one gradient-free pass over the whole
        noised sequence predicts all x_0, frames are swapped in one by one); or
        "sequential" (turn by turn through the memory with the few-step sampler, as
        editing does; the first r frames are swapped in, r drawn per step).
      probability: how likely a middle frame is replaced (one_pass).
      maximum: highest timestep that a frame is predicted from (one_pass). What editing
        leaves in history is the last step's prediction; from pure noise, where most
        of training takes place, a frame is far worse than that.
      fraction: the share of the steps that roll out; the others skip its cost.
      agreement: a token of a target counts only where the frame before, as the model
        sees it, is within this root mean square difference of what it should be. Where
        a rolled-out history took another way (an object lost, or drawn elsewhere), the
        ground truth does not follow from it, and the worst tokens would be just these.
        0 counts all (the reference).
      warmup: steps before the first rollout.
      sampler, sampler_steps, shift: of the sequential kind, "few_step" or "euler": what
        the model will be asked with, or its history is worse than in editing.
    """

    kind: str = result("none", within=("none", "one_pass", "sequential"))
    probability: float = result(0.5, within="[0, 1]")
    maximum: float = result(1000.0, within="(0, 1000]")
    agreement: float = result(0.0, within="[0, 1e6]")
    fraction: float = result(1.0, within="[0, 1]")
    warmup: int = result(0, within="[0, 1e9]")
    sampler: str = result("few_step", within=SAMPLERS)
    sampler_steps: int = result(2, within="[1, 1000]")
    shift: float = result(3.0, within="(0, 1000]")


@dataclasses.dataclass(frozen=True)
class Options(Bounded):
    """What this stage adds to the shared settings.

    Attributes:
      attention: in sequence, "causal", or of the reference "bidirectional" (frames see
        later ones too) or "teacher_forcing" (clean frames beside the noised ones: as
        with a history beside them, all turns are targets).
      history: "in_sequence" (the reference: one sequence, in which a noised frame is a
        target and the history of later ones) or "beside" (clean frames first, then all
        turns as targets that see them: as in editing, history is always clean, and
        every turn is a target; near twice the tokens, all of them used).
      clean_history: in sequence, probability that a frame before the last is given at
        timestep 0, as in editing; else at its own noise level (the reference: 0).
      degrade: latent degradation of every frame but the source.
      history_noise: largest standard deviation of noise on history frames that their
        timestep does not announce.
      memory_policies: (sink, window) pairs, one drawn per sample, window 0 meaning full
        history; empty: all history. One model then serves every policy.
      position_gap, gap_probability: up to this many extra frames of temporal distance
        between the source and the rest: long sessions stay in the trained range.
    """

    timesteps: TimestepConfig = TimestepConfig()
    loss: SequenceLossConfig = SequenceLossConfig()
    attention: str = result("causal", within=ATTENTION)
    history: str = result("in_sequence", within=("in_sequence", "beside"))
    degrade: DegradeConfig = DegradeConfig()
    rollout: RolloutConfig = RolloutConfig()
    clean_history: float = result(0.5, within="[0, 1]")
    history_noise: float = result(0.0, within="[0, 1000]")
    memory_policies: tuple[tuple[int, int], ...] = result((), within="[0, 1024]")
    position_gap: int = result(0, within="[0, 1e6]")
    gap_probability: float = result(0.5, within="[0, 1]")

    def __post_init__(self):
        super().__post_init__()
        if self.attention != "causal":
            for name, only in (("history", "in_sequence"), ("memory_policies", ())):
                if getattr(self, name) != only:
                    raise UserError(
                        f"options.{name} is read with options.attention 'causal' "
                        f"only, the attention is {self.attention!r}: leave it out"
                    )

    @property
    def apart(self) -> bool:
        """Tell whether history and targets are frames of their own."""
        return self.history == "beside" or self.attention == "teacher_forcing"


def init_state(run: RunConfig, parent: steps.Params) -> steps.TrainState:
    """The parent's averaged parameters at step 0."""
    return steps.make_train_state(parent["ema"], run.optimizer)


def loss_fn(
    run: RunConfig,
    params: steps.Params,
    state: steps.TrainState,
    batch: steps.Batch,
    round_trip: RoundTripFn | None = None,
) -> tuple[Float[Array, " B"], Float[Array, " B"], steps.Metrics]:
    """(errors [B], weights [B], metrics) of one batch.

    Args:
      round_trip: (latents, chosen) -> latents, see `degradation.degrade`.
    """
    options, latents = run.options, batch["latents"]
    size, frames, *_ = latents.shape
    root = randomness.stage_key(run.seed, run.stage)

    def keys(purpose: Purpose) -> Key[Array, " B"]:
        return randomness.sample_keys(root, state.step, batch["id"], purpose)

    noisy = single_turn.draw_timesteps(
        keys(Purpose.TIMESTEPS), frames, options.timesteps
    )
    noise = randomness.normals(keys(Purpose.NOISE), latents.shape[1:])
    clean = (
        randomness.uniforms(keys(Purpose.HISTORY), (frames,)) < options.clean_history
    )
    # The last frame is never history, and every sample keeps a target. Frames that are
    # no target are history and nothing else.
    valid = batch["frame_valid"] > 0
    timesteps = jnp.where(clean.at[:, -1].set(False) | ~valid, 0.0, noisy)
    if options.attention == "bidirectional":
        visibility = FrameVisibility("bidirectional")
    else:
        visibility = draw_visibility(keys(Purpose.MEMORY_POLICY), options)
    positions = draw_positions(keys(Purpose.POSITION_GAP), frames, options)
    network: Any = functools.partial(Transformer(run.model).apply, text=batch["text"])

    def velocity_given(history: Float[Array, "B T h w C"]) -> VelocityOf:
        if options.history == "beside":
            return beside_history(network, history, visibility, positions)
        if options.attention == "teacher_forcing":
            return teacher_forced(network, history, positions)
        return functools.partial(network, visibility=visibility, positions=positions)

    velocity = velocity_given(latents)
    context, replaced = latents, jnp.zeros((size, frames), bool)
    if options.rollout.kind != "none":
        context, replaced = jax.lax.cond(
            _rolls_out(root, state.step, options.rollout),
            lambda: rollout(
                run, params, batch, noisy, noise, velocity, keys, root, state
            ),
            lambda: (context, replaced),
        )
    if options.rollout.kind == "sequential":  # as in editing, its frames are clean
        timesteps = jnp.where(replaced, 0.0, timesteps)
    counted = None
    if options.rollout.kind != "none" and options.rollout.agreement:
        counted = losses.agreeing_tokens(
            latents, context, run.model.patch, options.rollout.agreement
        )
    in_loss = batch["frame_valid"]
    if options.apart:
        clean = jnp.zeros_like(timesteps)
        history = worsen(context, keys(Purpose.DEGRADE), clean, options, round_trip)
        velocity, context, timesteps = velocity_given(history), latents, noisy
    else:
        context = worsen(context, keys(Purpose.DEGRADE), timesteps, options, round_trip)
        in_loss = in_loss * jnp.float32(~replaced & (timesteps > 0))
    errors, kept, metrics, _ = sequence_loss(
        functools.partial(velocity, {"params": params}),
        latents,
        context,
        timesteps,
        noise,
        in_loss,
        options.loss,
        run.model.patch,
        answers=batch["answers"],
        intervals=noise_intervals(run.sampler),
        counted=counted,
    )
    return errors, kept, {**metrics, "replaced": jnp.mean(jnp.float32(replaced))}


def _rolls_out(
    root: Key[Array, ""], step: Int[Array, ""], config: RolloutConfig
) -> Bool[Array, ""]:
    key = randomness.step_key(root, step, Purpose.ROLLOUT)
    return (randomness.uniforms(key[None])[0] < config.fraction) & (
        step >= config.warmup
    )


def rollout(
    run: RunConfig,
    params: steps.Params,
    batch: steps.Batch,
    timesteps: Float[Array, "B T"],
    noise: Float[Array, "B T h w C"],
    velocity: VelocityOf,
    keys: Callable[[Purpose], jax.Array],
    root: Key[Array, ""],
    state: steps.TrainState,
) -> tuple[Float[Array, "B T h w C"], Bool[Array, "B T"]]:
    """(context latents, replaced bool [B, T]) under the stage's rollout kind."""
    params = jax.lax.stop_gradient(params)
    config, latents = run.options.rollout, batch["latents"]
    if config.kind == "one_pass":
        predicted = one_pass_x0(
            functools.partial(velocity, {"params": params}),
            latents,
            jnp.minimum(timesteps, config.maximum),
            noise,
        )
        draws = randomness.uniforms(keys(Purpose.ROLLOUT), (latents.shape[1],))
        wanted = (draws < config.probability) & (batch["frame_valid"] > 0)
        return swap_in(latents, predicted, wanted)
    key = randomness.step_key(root, state.step, Purpose.TARGET_TURN)
    turns = randomness.integer(key, 1, latents.shape[1] - 1)
    sampler = SamplerConfig(config.sampler, config.sampler_steps, config.shift)
    noise = sequence_noise(
        keys(Purpose.RENOISE), latents.shape[1], sampler.draws, latents.shape[2:]
    )
    generated, _ = generate_history(run, params, batch, sampler, turns, noise)
    rolled = jnp.arange(latents.shape[1])[None] <= turns
    return swap_in(latents, generated, rolled & (batch["frame_valid"] > 0))


def one_pass_x0(
    velocity: Velocity,
    latents: Float[Array, "B T h w C"],
    timesteps: Float[Array, "B T"],
    noise: Float[Array, "B T h w C"],
    sigmas: Float[Array, "B T"] | None = None,
) -> Float[Array, "B T h w C"]:
    """x_0 of every frame from one pass over the noised ground truth."""
    sigmas = timesteps / schedule.TIMESTEPS if sigmas is None else sigmas
    noised = schedule.add_noise(latents, noise, sigmas)
    return schedule.velocity_to_x0(noised, velocity(noised, timesteps), sigmas)


def passes(run: RunConfig, frames: int) -> tuple[Pass, ...]:
    """The passes of one step, per sample: the sequence, and what its rollout adds."""
    config, rule, length = run.options.rollout, memory_visibility(run.options), frames
    if run.options.history == "beside":
        rule, length = (
            dataclasses.replace(rule, mode="history_and_targets"),
            2 * (frames - 1),
        )
    elif run.options.attention == "bidirectional":
        rule = FrameVisibility("bidirectional")
    elif run.options.attention == "teacher_forcing":
        rule, length = TEACHER_FORCING, 2 * frames
    target = Pass("target", length, frames - 1, rule, gradient=True)
    rate = config.fraction
    if config.kind == "one_pass":
        return (target, Pass("rollout", length, frames - 1, rule, mean=rate))
    if config.kind == "sequential":  # 1..T-2 turns, all alike often
        mean, most = max((frames - 1) / 2, 1.0), max(frames - 2, 1)
        rolled = rollout_passes(
            "rollout", frames, config.sampler_steps, mean=mean, most=most, rate=rate
        )
        return (target, *rolled)
    return (target,)


def train_step(run: RunConfig, codec: Codec | None) -> tuple[Step, Any]:
    """The step, and the codec's weights where a degradation passes through it.

    Raises:
      UserError: the degradation asks for a codec, and none is given.
    """
    trip = make_round_trip(run.options, codec)
    if trip is None:
        plain = functools.partial(loss_fn, run)
        return steps.simple_step(plain, run.optimizer, run.loop), None

    def through_codec(
        params: steps.Params, state: steps.TrainState, batch: steps.Batch, frozen: Any
    ) -> tuple[jax.Array, jax.Array, steps.Metrics]:
        return loss_fn(run, params, state, batch, functools.partial(trip, frozen))

    return steps.simple_step(through_codec, run.optimizer, run.loop), trip.params


STAGE = Stage(
    name="causal_forcing",
    options=Options,
    parents=("single_turn", "causal_forcing"),
    init_state=init_state,
    passes=passes,
    draw_targets=single_turn.draw_targets,
    loss_fn=loss_fn,
    train_step=train_step,
)
