"""Stage 3a: consistency distillation of a guided many-step teacher.

See docs/method.md, Consistency.

At point i of a dense grid the student's x_0 must equal the EMA's x_0 at point i + 1,
which the frozen teacher reaches by one guided Euler step. Student, EMA and teacher each
remember the ground-truth history with their own weights.
"""

import dataclasses

import jax
import jax.numpy as jnp

from anchoredit_jax import randomness, turn
from anchoredit_jax.arrays import Array, Float, Int, Key
from anchoredit_jax.diffusion import losses, samplers, schedule
from anchoredit_jax.randomness import Purpose
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages import distill
from anchoredit_jax.stages import step as steps
from anchoredit_jax.stages.breakdown import by_noise
from anchoredit_jax.stages.context import (
    Velocity,
    draw_positions,
    draw_visibility,
    memory_visibility,
)
from anchoredit_jax.stages.passes import Pass
from anchoredit_jax.stages.stage import Stage
from anchoredit_jax.strict import Bounded, result
from anchoredit_jax.trees import DTYPES, cast_copy


@dataclasses.dataclass(frozen=True)
class Options(Bounded):
    """What this stage adds to the shared settings.

    Attributes:
      grid_steps, shift: the dense grid N and its shift.
      guidance: of the teacher, in the one convention v_u + g (v_c - v_u); the text of
        v_u is `sampler.negative`.
      edit_weight, edit_threshold: as in `SequenceLossConfig`.
      anchor_weight: weight of `distill.anchor_errors` (ours; 0 replays the reference).
      snap_shift: see `schedule.sigma_at`; the reference turns velocities into x_0 with
        sigmas of the 1000-point grid.
      teacher_dtype: in which the frozen teacher is kept: "float32", or "bfloat16"
        for half the memory.
      memory_policies, position_gap, gap_probability: as in causal forcing.
    """

    grid_steps: int = result(48, within="[1, 1000]")
    shift: float = result(5.0, within="(0, 1000]")
    guidance: float = result(3.0, within="[-1000, 1000]")
    edit_weight: float = result(0.0, within="[0, 1e6]")
    edit_threshold: float = result(0.05, within="[0, 1000]")
    anchor_weight: float = result(0.0, within="[0, 1e6]")
    snap_shift: float | None = result(None, within="(0, 1000]")
    teacher_dtype: str = result("float32", within=DTYPES)
    memory_policies: tuple[tuple[int, int], ...] = result((), within="[0, 1024]")
    position_gap: int = result(0, within="[0, 1e6]")
    gap_probability: float = result(0.5, within="[0, 1]")


def init_state(run: RunConfig, parent: steps.Params) -> steps.TrainState:
    """Student, EMA and teacher all start as the parent's averaged parameters; of a
    parent that has a teacher, that one goes on teaching."""
    teacher = cast_copy(parent.get("teacher", parent["ema"]), run.options.teacher_dtype)
    return steps.make_train_state(parent["ema"], run.optimizer, teacher=teacher)


def loss_fn(
    run: RunConfig, params: steps.Params, state: steps.TrainState, batch: steps.Batch
) -> tuple[Float[Array, " B"], Float[Array, " B"], steps.Metrics]:
    """(errors [B], weights [B], metrics) of one batch."""
    options, latents = run.options, batch["latents"]
    size, frames, *shape = latents.shape
    root = randomness.stage_key(run.seed, run.stage)

    def keys(purpose: Purpose) -> Key[Array, " B"]:
        return randomness.sample_keys(root, state.step, batch["id"], purpose)

    turns = randomness.uniforms(keys(Purpose.TARGET_TURN)) * (frames - 1)
    history = distill.History(
        target=1 + jnp.int32(turns),
        visibility=draw_visibility(keys(Purpose.MEMORY_POLICY), options),
        positions=draw_positions(keys(Purpose.POSITION_GAP), frames, options),
    )
    point = draw_points(keys(Purpose.GRID_POINT), options)
    noise = randomness.normals(keys(Purpose.NOISE), tuple(shape))
    predicted, goal = consistency_pair(
        run, params, state.ema, state.teacher, batch, history, point, noise
    )
    errors = jnp.mean(jnp.square(predicted - goal), axis=(1, 2, 3))
    weights = distill.frame(batch["frame_valid"], history.target)
    grid = jnp.asarray(schedule.make_sigmas(options.grid_steps, options.shift))
    metrics = {
        "plain": jnp.mean(errors),
        **by_noise(
            errors,
            grid[point] * schedule.TIMESTEPS,
            weights,
            samplers.noise_intervals(run.sampler),
        ),
    }
    if options.edit_weight:
        changed = losses.changed_tokens(
            latents, latents[:, :-1], run.model.patch, options.edit_threshold
        )
        may_change = losses.masked_tokens(batch["answers"], run.model.patch)
        changed = jnp.maximum(changed, may_change)
        changed = distill.frame(changed, history.target)[:, None]
        edit = losses.token_errors(predicted[:, None], goal[:, None], changed)[:, 0]
        metrics["edit"] = jnp.mean(edit)
        errors = errors + options.edit_weight * edit
    if options.anchor_weight:
        anchor = distill.anchor_errors(
            predicted, batch, history.target, run.model.patch
        )
        metrics["anchor"] = jnp.mean(anchor)
        errors = errors + options.anchor_weight * anchor
    return errors, weights, metrics


def draw_points(keys: Key[Array, " B"], options: Options) -> Int[Array, " B"]:
    """Points int32 [B] of the grid, from keys [B]."""
    return jnp.int32(randomness.uniforms(keys) * options.grid_steps)


def draw_targets(keys: Key[Array, " B"], run: RunConfig) -> Float[Array, " B"]:
    """Timesteps [B] at which the student answers."""
    options = run.options
    grid = schedule.make_sigmas(options.grid_steps, options.shift)
    return jnp.asarray(grid)[draw_points(keys, options)] * schedule.TIMESTEPS


def consistency_pair(
    run: RunConfig,
    params: steps.Params,
    ema: steps.Params,
    teacher: steps.Params,
    batch: steps.Batch,
    history: distill.History,
    point: Int[Array, " B"],
    noise: Float[Array, "B h w C"],
) -> tuple[Float[Array, "B h w C"], Float[Array, "B h w C"]]:
    """(student's x_0 at the point, EMA's x_0 at the next), each [B, h, w, C].

    Args:
      history: the target turns and what they see.
      point: int32 [B], index into the grid.
      noise: [B, h, w, C].
    """
    options = run.options
    latents, text = batch["latents"], batch["text"]
    grid = jnp.asarray(schedule.make_sigmas(options.grid_steps, options.shift))
    grid = jnp.append(grid, jnp.float32(0))
    sigma, following = grid[point], grid[point + 1]
    prompt = distill.frame(text, history.target - 1)
    noised = schedule.add_noise(distill.frame(latents, history.target), noise, sigma)

    def velocity_of(
        weights: steps.Params, prompts: Float[Array, "R S Dt"], repeat: int = 1
    ) -> Velocity:
        view = distill.history_view(run, weights, latents, text, history)
        if repeat > 1:  # both prompts beside the same, conditional, history
            view = dataclasses.replace(
                view,
                keys=jnp.concatenate([view.keys] * repeat, 1),
                values=jnp.concatenate([view.values] * repeat, 1),
                valid=jnp.concatenate([view.valid] * repeat),
                positions=jnp.concatenate([view.positions] * repeat),
                next_position=jnp.concatenate([view.next_position] * repeat),
            )
        return turn.beside_memory(run.model, weights, view, prompts)

    def x0(
        velocity: Velocity, x: Float[Array, "B h w C"], at: Float[Array, " B"]
    ) -> Float[Array, "B h w C"]:
        timesteps = at * schedule.TIMESTEPS
        sigma = schedule.sigma_at(timesteps, options.snap_shift)
        return schedule.velocity_to_x0(x, velocity(x, timesteps), sigma)

    guided = options.guidance != 1.0
    prompts = jnp.concatenate([prompt, batch["null_text"]]) if guided else prompt
    direction = velocity_of(teacher, prompts, 2 if guided else 1)
    if guided:
        both = direction(
            jnp.concatenate([noised] * 2),
            jnp.concatenate([sigma] * 2) * schedule.TIMESTEPS,
        )
        given, none = jnp.split(both, 2)
        direction = samplers.guide(given, none, options.guidance)
    else:
        direction = direction(noised, sigma * schedule.TIMESTEPS)
    stepped = schedule.euler_step(noised, direction, sigma, following)
    goal = x0(velocity_of(ema, prompt), stepped, following)
    predicted = x0(velocity_of(params, prompt), noised, sigma)
    return predicted, jax.lax.stop_gradient(goal)


def passes(run: RunConfig, frames: int) -> tuple[Pass, ...]:
    """The passes of one step, per sample: three histories, and a frame beside each."""
    guided = run.options.guidance != 1.0
    rule = memory_visibility(run.options)
    return (
        *(
            Pass(f"{whose} history", frames, frames - 1, rule)
            for whose in ("teacher", "average", "student")
        ),
        Pass("teacher", 1, 1, past=frames, batch=2 if guided else 1),
        Pass("average", 1, 1, past=frames),
        Pass("target", 1, 1, past=frames, gradient=True),
    )


STAGE = Stage(
    name="consistency",
    options=Options,
    parents=("causal_forcing", "consistency"),
    init_state=init_state,
    passes=passes,
    draw_targets=draw_targets,
    loss_fn=loss_fn,
    with_teacher=("consistency",),
)
