"""Stage 3b: distribution matching distillation to a few steps.

See docs/method.md, Distribution matching.

The generator rolls out its own history turn by turn, exactly as editing does. Its last
frame is pulled along (fake score - real score): the real score is the frozen, guided
teacher, the fake score a critic that learns to denoise the generator's own frames. The
critic is updated every step, the generator every `critic_ratio`-th.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from anchoredit_jax import memory as memories
from anchoredit_jax import randomness, turn
from anchoredit_jax.arrays import Array, Float, Int, Key
from anchoredit_jax.diffusion import samplers, schedule
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import Codec
from anchoredit_jax.optimizer import AdamConfig, CriticConfig
from anchoredit_jax.randomness import Purpose
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages import distill
from anchoredit_jax.stages import step as steps
from anchoredit_jax.stages.breakdown import by_noise
from anchoredit_jax.stages.passes import Pass, rollout_passes
from anchoredit_jax.stages.rollout import generate_history, sequence_noise
from anchoredit_jax.stages.scores import denoising_loss, matching_loss
from anchoredit_jax.stages.stage import Stage, Step
from anchoredit_jax.strict import Bounded, FieldError, result
from anchoredit_jax.trees import DTYPES, cast_copy

GENERATOR_SCOPE = "generator"  # its rollout, one turn shorter than the critic's


@dataclasses.dataclass(frozen=True)
class Options(Bounded):
    """What this stage adds to the shared settings.

    The generator is trained for the run's `sampler`, by which its checkpoints then
    edit: few_step, without guidance.

    Attributes:
      guidance: of the real score, v_u + g (v_c - v_u) (reference g = 6 is ours 7); the
        text of v_u is `sampler.negative`.
      anchor_weight: of `distill.anchor_errors` in the generator's loss, the regression
        term of DMD on ground truth (ours; 0 replays the reference).
      critic_ratio: critic updates per generator update.
      critic: the critic's own optimizer.
      critic_weighting: of its denoising error, "velocity" (the reference) or "x0"
        (velocity error times sigma^2), as in `SequenceLossConfig`.
      score_minimum, score_maximum, score_shift: range of the timesteps at which the
        scores are compared.
      teacher_dtype: in which the frozen real score is kept: "float32", or "bfloat16"
        for half the memory.
    """

    guidance: float = result(7.0, within="[-1000, 1000]")
    anchor_weight: float = result(0.0, within="[0, 1e6]")
    critic_ratio: int = result(5, within="[1, 1e6]")
    critic: CriticConfig = CriticConfig()
    critic_weighting: str = result("velocity", within=("velocity", "x0"))
    score_minimum: float = result(20.0, within="[0, 1000]")
    score_maximum: float = result(980.0, within="[0, 1000]")
    score_shift: float = result(1.0, within="(0, 1000]")
    teacher_dtype: str = result("float32", within=DTYPES)

    def __post_init__(self):
        super().__post_init__()
        if not self.score_minimum < self.score_maximum:
            raise FieldError(
                self,
                "score_minimum",
                f"must be below score_maximum, given {self.score_minimum} and "
                f"{self.score_maximum}",
            )


def init_state(run: RunConfig, parent: steps.Params) -> steps.TrainState:
    """Generator from the parent's average; real score and critic from the parent's
    teacher, or from the average too where it has none (causal forcing); the critic from
    the parent's own where there is one."""
    generator_sampler(run)  # or refused, before anything is written
    teacher = parent.get("teacher", parent["ema"])
    critic = cast_copy(parent.get("critic", teacher), "float32")  # is trained
    return steps.make_train_state(
        parent["ema"],
        run.optimizer,
        teacher=cast_copy(teacher, run.options.teacher_dtype),
        critic=critic,
        critic_opt_state=steps.make_optimizer(critic_optimizer(run)).init(critic),
    )


def critic_optimizer(run: RunConfig) -> AdamConfig:
    """The critic's settings in full."""
    return run.options.critic.beside(run.optimizer)


def generator_sampler(run: RunConfig) -> SamplerConfig:
    """The few-step sampler that the generator is trained for: the run's.

    Raises:
      UserError: it is of another kind, or guided.
    """
    kind, guidance = run.sampler.kind, run.sampler.guidance
    if kind != "few_step" or guidance != 1.0:
        raise UserError(
            "distribution_matching trains its generator for the run's sampler, which "
            "must be few_step with guidance 1; got sampler.kind "
            f"{kind!r} and sampler.guidance {guidance}"
        )
    return run.sampler


def _draws(
    run: RunConfig,
    state: steps.TrainState,
    batch: steps.Batch,
    purposes: tuple[Purpose, Purpose, Purpose],
) -> tuple[jax.Array, ...]:
    """What both updates draw: keys, the target turn, few-step noise, score level."""
    noise_for, renoise_for, level_for = purposes
    latents = batch["latents"]
    frames = latents.shape[1]
    root = randomness.stage_key(run.seed, run.stage)

    def keys(purpose: Purpose) -> Key[Array, " B"]:
        return randomness.sample_keys(root, state.step, batch["id"], purpose)

    target = distill.draw_turn(
        jax.random.fold_in(
            randomness.step_key(root, state.step, Purpose.TARGET_TURN), int(noise_for)
        ),
        frames - 1,
    )
    rollout = sequence_noise(
        keys(renoise_for), frames, generator_sampler(run).draws, latents.shape[2:]
    )
    level = draw_levels(keys(level_for), run.options)
    noise = randomness.normals(keys(noise_for), latents.shape[2:])
    return root, target, rollout, level, noise


def draw_levels(keys: Key[Array, " B"], options: Options) -> Float[Array, " B"]:
    """Timesteps [B] at which scores are compared and the critic trains; keys [B]."""
    u = schedule.shift_sigma(randomness.uniforms(keys), options.score_shift)
    return jnp.clip(
        u * schedule.TIMESTEPS, options.score_minimum, options.score_maximum
    )


def generator_loss(
    run: RunConfig, params: steps.Params, state: steps.TrainState, batch: steps.Batch
) -> tuple[Float[Array, " B"], Float[Array, " B"], steps.Metrics]:
    """(errors [B], weights [B], metrics) of the generator."""
    root, target, rollout, level, noise = _draws(
        run,
        state,
        batch,
        (Purpose.SCORE_NOISE, Purpose.RENOISE, Purpose.SCORE_TIMESTEP),
    )
    step = randomness.integer(
        randomness.step_key(root, state.step, Purpose.GRID_POINT),
        0,
        generator_sampler(run).draws,
    )
    x0, sequence = last_step_x0(run, params, batch, target, step, rollout)
    errors, gradient = matching_loss(
        run, state.teacher, state.critic, batch, x0, sequence, target, level, noise
    )
    metrics = {"matching": jnp.mean(errors), "gradient": jnp.mean(jnp.abs(gradient))}
    if run.options.anchor_weight:
        anchor = distill.anchor_errors(x0, batch, target, run.model.patch)
        metrics["anchor"] = jnp.mean(anchor)
        errors = errors + run.options.anchor_weight * anchor
    return errors, jnp.take(batch["frame_valid"], target, axis=1), metrics


def last_step_x0(
    run: RunConfig,
    params: steps.Params,
    batch: steps.Batch,
    target: int | Int[Array, ""],
    step: int | Int[Array, ""],
    noise: Float[Array, "T steps B h w C"],
) -> tuple[Float[Array, "B h w C"], Float[Array, "B T h w C"]]:
    """x_0 of frame k with the gradient of one denoising step only.

    Args:
      target: k, traced int32.
      step: traced int32; `step` gradient-free steps come first.
      noise: [T, steps, B, h, w, C].

    Returns:
      (x_0 [B, h, w, C], sequence [B, T, ...] of source and generated history).
    """
    frozen = jax.lax.stop_gradient(params)
    sampler = generator_sampler(run)
    with jax.named_scope(GENERATOR_SCOPE):
        sequence, memory = generate_history(
            run, frozen, batch, sampler, target - 1, noise
        )
    view = memories.view(memory)
    prompt = jnp.take(batch["text"], target - 1, axis=1)
    grad_free = turn.beside_memory(run.model, frozen, view, prompt)

    def at_step(x, timestep):
        return grad_free(x, jnp.full(x.shape[:1], timestep))

    draws = noise[target]
    with jax.named_scope(distill.STEPS_SCOPE):
        noised = samplers.sample_steps(at_step, draws[0], draws, 0, step, sampler)
    noised = jax.lax.stop_gradient(noised)
    timestep, sigma = (
        jnp.full(noised.shape[:1], jnp.asarray(x)[step]) for x in sampler.schedule
    )
    velocity = turn.beside_memory(run.model, params, view, prompt)
    x0 = schedule.velocity_to_x0(noised, velocity(noised, timestep), sigma)
    return x0, sequence


def critic_loss(
    run: RunConfig, critic: steps.Params, state: steps.TrainState, batch: steps.Batch
) -> tuple[Float[Array, " B"], Float[Array, " B"], steps.Metrics]:
    """(errors [B], weights [B], metrics): denoising the generator's own frames."""
    _, target, rollout, level, noise = _draws(
        run,
        state,
        batch,
        (Purpose.CRITIC_NOISE, Purpose.ROLLOUT, Purpose.CRITIC_TIMESTEP),
    )
    generated, _ = generate_history(
        run, state.params, batch, generator_sampler(run), target, rollout
    )
    generated = jax.lax.stop_gradient(generated)
    errors = denoising_loss(run, critic, batch, generated, target, level, noise)
    weights = jnp.take(batch["frame_valid"], target, axis=1)
    intervals = samplers.noise_intervals(run.sampler)
    return errors, weights, by_noise(errors, level, weights, intervals)


def passes(run: RunConfig, frames: int) -> tuple[Pass, ...]:
    """The passes of one step, per sample: the critic's, and some of the generator's."""
    options, turns = run.options, frames - 1
    draws = generator_sampler(run).draws
    rate = 1 / options.critic_ratio
    # The target k is 1..N: the critic has k turns made, the generator k - 1 and a part.
    return (
        *rollout_passes(
            "critic rollout", frames, draws, mean=(turns + 1) / 2, most=turns
        ),
        Pass("critic", frames, turns, gradient=True),
        *rollout_passes(
            "rollout", frames, draws, mean=(turns - 1) / 2, most=turns - 1, rate=rate
        ),
        Pass(
            "last draws", 1, 1, past=frames,
            mean=rate * (draws - 1) / 2, most=draws - 1,
        ),
        Pass("target", 1, 1, past=frames, mean=rate, gradient=True),
        Pass(
            "real score", frames, turns,
            mean=rate, batch=1 if options.guidance == 1.0 else 2,
        ),
        Pass("fake score", frames, turns, mean=rate),
    )  # fmt: skip


def train_step(run: RunConfig, codec: Codec | None) -> tuple[Step, None]:
    """(state, batch) -> (state, metrics): generator when due, then critic."""
    optimizer, accumulate = run.optimizer, run.optimizer.accumulate
    ratio, critic_config = run.options.critic_ratio, critic_optimizer(run)

    def update_generator(
        state: steps.TrainState, batch: steps.Batch
    ) -> tuple[steps.TrainState, steps.Metrics, jax.Array]:
        loss, metrics, grads = steps.gradients(
            functools.partial(generator_loss, run),
            state.params,
            state,
            batch,
            accumulate,
        )
        state, spike, left_out = steps.judged(state, "params", grads, run.loop)
        params, opt_state, norms, finite = steps.update(
            optimizer, loss, grads, state.opt_state, state.params,
            every=ratio, left_out=left_out,
        )  # fmt: skip
        ema = steps.update_ema(state.ema, params, state.step // ratio, optimizer)
        state = dataclasses.replace(state, params=params, opt_state=opt_state, ema=ema)
        return state, {"loss": loss, **metrics, **norms, **spike}, finite

    def step(
        state: steps.TrainState, batch: steps.Batch
    ) -> tuple[steps.TrainState, steps.Metrics]:
        _, shapes, all_flags = jax.eval_shape(update_generator, state, batch)

        def no_update() -> tuple[steps.TrainState, steps.Metrics, jax.Array]:
            # Nothing was measured: NaN, not 0; and nothing is wrong.
            unknown = jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan), shapes)
            return state, unknown, jnp.ones(all_flags.shape, bool)

        due = state.step % ratio == 0
        state, metrics, finite = jax.lax.cond(
            due, lambda: update_generator(state, batch), no_update
        )
        critic_loss_value, levels, grads = steps.gradients(
            functools.partial(critic_loss, run), state.critic, state, batch, accumulate
        )
        state, spike, left_out = steps.judged(state, "critic", grads, run.loop)
        critic, critic_opt_state, norms, critic_finite = steps.update(
            critic_config,
            critic_loss_value,
            grads,
            state.critic_opt_state,
            state.critic,
            left_out=left_out,
        )
        state = dataclasses.replace(
            state, step=state.step + 1, critic=critic, critic_opt_state=critic_opt_state
        )
        generator = {f"generator_{name}": value for name, value in metrics.items()}
        critics = {f"critic_{name}": value for name, value in norms.items()}
        flags = {"params": finite, "critic": critic_finite}
        return state, {
            "loss": critic_loss_value,
            **levels,
            **critics,
            **generator,
            **spike,
            steps.FINITE: flags,
        }

    return step, None


STAGE = Stage(
    name="distribution_matching",
    options=Options,
    parents=("consistency", "causal_forcing", "distribution_matching"),
    init_state=init_state,
    passes=passes,
    draw_targets=lambda keys, run: draw_levels(keys, run.options),
    train_step=train_step,
    optimizers=lambda run: {
        "generator_learning_rate": run.optimizer,
        "critic_learning_rate": critic_optimizer(run),
    },
    with_teacher=("consistency", "distribution_matching"),
)
