"""Stage 2: causal multi-turn forcing (design 1 and 3.5).

Every frame has its own noise level, so each is a target for the frames before it and
history for those after it. What training sees of history is made to look like what
editing sees: clean (timestep 0) with a set probability, degraded, or replaced by the
model's own predictions (self-rollout). A replaced frame is context, never a target: its
ground truth no longer follows from what the model was shown.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from anchoredit_jax import randomness
from anchoredit_jax.diffusion import degradation, schedule
from anchoredit_jax.diffusion.degradation import DegradeConfig
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.diffusion.timesteps import TimestepConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models.transformer import Transformer
from anchoredit_jax.randomness import Purpose
from anchoredit_jax.stages import single_turn
from anchoredit_jax.stages import step as steps
from anchoredit_jax.stages.rollout import generate_history, sequence_noise
from anchoredit_jax.stages.sequence import SequenceLossConfig, sequence_loss

PARENTS = ("single_turn", "causal_forcing")


@dataclasses.dataclass(frozen=True)
class RolloutConfig:
    """Self-rollout: history replaced by the model's own predictions.

    Attributes:
      kind: "none"; "one_pass" (the reference: one gradient-free pass over the whole
        noised sequence predicts all x_0, frames are swapped in one by one); or
        "sequential" (turn by turn through the memory with the few-step sampler, as
        editing does; the first r frames are swapped in, r drawn per step).
      probability: that a middle frame is replaced (one_pass).
      fraction: of the steps that roll out at all; the others skip its cost.
      warmup: steps before the first rollout.
      sampler_steps, shift: of the sequential kind's few-step sampler.
    """

    kind: str = "none"
    probability: float = 0.5
    fraction: float = 1.0
    warmup: int = 0
    sampler_steps: int = 2
    shift: float = 3.0

    def __post_init__(self):
        if self.kind not in ("none", "one_pass", "sequential"):
            raise UserError(
                f"rollout kind must be none, one_pass or sequential, got {self.kind!r}"
            )


@dataclasses.dataclass(frozen=True)
class Options:
    """What this stage adds to the shared settings.

    Attributes:
      clean_history: probability that a frame before the last is given at timestep 0,
        as in editing; else at its own noise level (the reference: 0).
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
    degrade: DegradeConfig = DegradeConfig()
    rollout: RolloutConfig = RolloutConfig()
    clean_history: float = 0.5
    history_noise: float = 0.0
    memory_policies: tuple[tuple[int, int], ...] = ()
    position_gap: int = 0
    gap_probability: float = 0.5


def init_state(run, parent) -> steps.TrainState:
    """The parent's averaged parameters at step 0."""
    return steps.init_train_state(parent["ema"], run.optimizer)


def loss_fn(run, params, state, batch):
    """(errors [B], weights [B], metrics) of one batch."""
    options, latents = run.options, batch["latents"]
    size, frames, *_ = latents.shape
    root = randomness.stage_key(run.seed, run.stage)

    def keys(purpose):
        return randomness.sample_keys(root, state.step, batch["id"], purpose)

    noisy = single_turn.draw_timesteps(
        keys(Purpose.TIMESTEPS), frames, options.timesteps
    )
    noise = randomness.normals(keys(Purpose.NOISE), latents.shape[1:])
    clean = (
        randomness.uniforms(keys(Purpose.HISTORY), (frames,)) < options.clean_history
    )
    # The last frame is never history, and every sample keeps a target.
    timesteps = jnp.where(clean.at[:, -1].set(False), 0.0, noisy)
    velocity = functools.partial(
        Transformer(run.model).apply,
        text=batch["text"],
        visibility=draw_visibility(keys(Purpose.MEMORY_POLICY), options),
        positions=draw_positions(keys(Purpose.POSITION_GAP), frames, options),
    )

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
    context = worsen(context, keys(Purpose.DEGRADE), timesteps, options)
    target = ~replaced & (timesteps > 0)
    in_loss = batch["frame_valid"] * jnp.float32(target)
    errors, kept, metrics, _ = sequence_loss(
        functools.partial(velocity, {"params": params}),
        latents,
        context,
        timesteps,
        noise,
        in_loss,
        options.loss,
        run.model.patch,
    )
    return errors, kept, {**metrics, "replaced": jnp.mean(jnp.float32(replaced))}


def _rolls_out(root, step, config: RolloutConfig):
    key = randomness.step_key(root, step, Purpose.ROLLOUT)
    return (randomness.uniforms(key[None])[0] < config.fraction) & (
        step >= config.warmup
    )


def rollout(run, params, batch, timesteps, noise, velocity, keys, root, state):
    """(context latents, replaced bool [B, T]) under the stage's rollout kind."""
    params = jax.lax.stop_gradient(params)
    config, latents = run.options.rollout, batch["latents"]
    if config.kind == "one_pass":
        predicted = one_pass_x0(
            functools.partial(velocity, {"params": params}), latents, timesteps, noise
        )
        draws = randomness.uniforms(keys(Purpose.ROLLOUT), (latents.shape[1],))
        return swap_in(latents, predicted, draws < config.probability)
    key = randomness.step_key(root, state.step, Purpose.TARGET_TURN)
    turns = randomness.integer(key, 1, latents.shape[1] - 1)
    sampler = SamplerConfig(steps=config.sampler_steps, shift=config.shift)
    noise = sequence_noise(
        keys(Purpose.RENOISE), latents.shape[1], sampler.steps, latents.shape[2:]
    )
    generated, _ = generate_history(run, params, batch, sampler, turns, noise)
    rolled = jnp.arange(latents.shape[1])[None] <= turns
    return swap_in(latents, generated, jnp.broadcast_to(rolled, timesteps.shape))


def one_pass_x0(velocity, latents, timesteps, noise, sigmas=None):
    """x_0 of every frame from one pass over the noised ground truth."""
    sigmas = timesteps / schedule.TIMESTEPS if sigmas is None else sigmas
    noised = schedule.add_noise(latents, noise, sigmas)
    return schedule.velocity_to_x0(noised, velocity(noised, timesteps), sigmas)


def swap_in(latents, predicted, wanted):
    """Replace wanted frames, never the source nor the last: (latents, replaced)."""
    frames = latents.shape[1]
    middle = (jnp.arange(frames) > 0) & (jnp.arange(frames) < frames - 1)
    replaced = wanted & middle[None]
    mask = replaced[..., None, None, None]
    return jnp.where(mask, jax.lax.stop_gradient(predicted), latents), replaced


def worsen(context, keys, timesteps, options: Options):
    """Degraded context: every frame but the source, which is what the user gave."""
    worse = context = jnp.asarray(context)
    if options.degrade.active:
        draws = degradation.draw(keys, context.shape[1:], options.degrade)
        worse = degradation.degrade(worse, draws, options.degrade)
    if options.history_noise:
        folded = jax.vmap(lambda key: jax.random.fold_in(key, 1000))(keys)
        level = randomness.uniforms(folded, (context.shape[1], 1, 1, 1))
        history = (timesteps == 0)[..., None, None, None]
        folded = jax.vmap(lambda key: jax.random.fold_in(key, 1001))(keys)
        extra = randomness.normals(folded, context.shape[1:])
        worse = worse + options.history_noise * level * extra * jnp.float32(history)
    return worse.at[:, 0].set(context[:, 0])


def draw_visibility(keys, options: Options) -> FrameVisibility:
    """Causal, narrowed per sample to one of the memory policies."""
    if not options.memory_policies:
        return FrameVisibility("causal")
    policies = jnp.asarray(options.memory_policies, jnp.int32)
    pick = jnp.int32(randomness.uniforms(keys) * len(options.memory_policies))
    sink, window = policies[pick].T
    # A memory's window counts past frames; visibility counts all, itself included.
    total = jnp.where(window == 0, 0, sink + window + 1)
    return FrameVisibility("causal", sample_window=total, sample_sink=sink)


def draw_positions(keys, frames: int, options: Options):
    """Temporal positions float32 [B, T], with a random gap behind the source."""
    positions = jnp.arange(frames, dtype=jnp.float32)[None]
    if not options.position_gap:
        return positions
    draws = randomness.uniforms(keys, (2,))
    gap = jnp.floor(draws[:, :1] * (options.position_gap + 1))
    gap = jnp.where(draws[:, 1:] < options.gap_probability, gap, 0.0)
    return positions + gap * jnp.float32(positions > 0)


def make_train_step(run):
    """(state, batch) -> (state, metrics), compiled, donating the state."""
    return steps.make_simple_step(functools.partial(loss_fn, run), run.optimizer)
