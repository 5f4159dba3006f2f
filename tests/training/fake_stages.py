"""Two stages small enough to train in milliseconds, for tests of the loop.

`fake_second` starts from `fake_first` and carries a teacher. The loss depends on the
batch, on the step and on the seed, so that any slip in resuming shows. Run as a script,
this file trains one of them in a process of its own, which a test may then kill:

    python -m tests.training.fake_stages WORKDIR STAGE SECONDS_PER_STEP key=value ...
"""

import dataclasses
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from anchoredit_jax.config import override, parse_arg, run_from_dict
from anchoredit_jax.encoders import make_codec
from anchoredit_jax.models.codec import CodecConfig
from anchoredit_jax.parallel.sharded import CompiledStep
from anchoredit_jax.stages.passes import Pass
from anchoredit_jax.stages.stage import Stage
from anchoredit_jax.stages.step import TrainState, make_train_state
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.strict import result
from anchoredit_jax.training.exits import exit_codes
from anchoredit_jax.training.loop import run_stage

WIDTH = make_codec(CodecConfig()).channels


@dataclasses.dataclass(frozen=True)
class Options:
    """`diverge_at`: the step whose loss is NaN."""

    diverge_at: int = result(-1)


def make_optimizer(run):
    return optax.adam(run.optimizer.learning_rate)


def init_state(run, parent=None):
    if parent is None:
        params = {"w": jax.random.normal(jax.random.key(run.seed), (WIDTH, WIDTH))}
    else:
        params = parent["ema"]
    return TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state=make_optimizer(run).init(params),
        ema=params,
        teacher=parent["ema"] if parent else None,
    )


def make_train_step(run, mesh=None):
    def loss_fn(params, state, batch):
        key = jax.random.fold_in(jax.random.key(run.seed), state.step)
        latents = batch["latents"]
        noise = jax.random.normal(key, (latents.size,)).reshape(latents.shape)
        error = (latents + 0.1 * noise) @ params["w"] - latents
        bad = state.step + 1 == run.options.diverge_at
        return jnp.where(bad, jnp.nan, jnp.mean(error**2))

    def step(state, batch):
        loss, grads = jax.value_and_grad(loss_fn)(state.params, state, batch)
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = make_optimizer(run).update(grads, state.opt_state)
        params = optax.apply_updates(state.params, updates)
        ema = jax.tree.map(lambda e, p: 0.9 * e + 0.1 * p, state.ema, params)
        even = jnp.where(state.step % 2 == 0, loss, jnp.nan)  # applies to some steps
        state = state.replace(
            step=state.step + 1, params=params, opt_state=opt_state, ema=ema
        )
        return state, {"loss": loss, "even": even}

    return CompiledStep(step, mesh)


def make_stage(name, parents=(), delay=0.0):
    """A stage; `delay` seconds pass after each step's dispatch."""

    def slow_train_step(run, mesh):
        step = make_train_step(run, mesh)

        def slow(state, batch):
            time.sleep(delay)
            return step(state, batch)

        return slow if delay else step

    return SteppingStage(
        name,
        options=Options,
        parents=parents,
        init_state=init_state,
        step=slow_train_step,
        passes=lambda run, frames: (Pass("target", frames, frames - 1),),
    )


def linear_loss(run, params, state, batch):
    """(errors, weights, metrics) of a linear map of latents, for the real step."""
    latents = batch["latents"]
    errors = ((latents @ params["w"] - latents) ** 2).mean((2, 3, 4)).sum(1)
    return errors, batch["frame_valid"][:, -1], {}


def linear_stage():
    """A stage that takes the step of the real ones."""
    return Stage(
        "fake_linear",
        options=Options,
        parents=(),
        init_state=lambda run, parent: make_train_state(
            {"w": jax.random.normal(jax.random.key(run.seed), (WIDTH, WIDTH))},
            run.optimizer,
        ),
        passes=lambda run, frames: (Pass("target", frames, frames - 1),),
        loss_fn=linear_loss,
    )


@dataclasses.dataclass(frozen=True)
class SteppingStage(Stage):
    """A stage with a step of its own, `step(run, mesh)`."""

    step: Callable = make_train_step

    def make_train_step(self, run, codec=None, mesh=None):
        return self.step(run, mesh)


def with_step(stage, make):
    """A stage that steps by `make(run)`."""
    fields = {one.name: getattr(stage, one.name) for one in dataclasses.fields(Stage)}
    return SteppingStage(**fields, step=lambda run, mesh: make(run))


def replace_step(stages, name, make):
    """Let a stage of the table step by `make(run)`."""
    stages[name] = with_step(stages[name], make)


def add_fake_stages(stages, delay=0.0):
    """Put both into the table of stages."""
    stages["fake_first"] = make_stage("fake_first", delay=delay)
    stages["fake_second"] = make_stage("fake_second", ("fake_first",), delay=delay)


def make_run(stage="fake_first", arg=""):
    """A tiny configuration; `arg` holds dotted overrides."""
    config = ConfigDict(
        dict(
            stage=stage,
            seed=3,
            model=dict(
                dim=8, ffn_dim=8, num_heads=2, num_layers=1, channels=WIDTH, text_dim=8
            ),
            codec=dict(),
            text=dict(length=14, dim=8),
            memory=dict(),
            data=dict(size=16, turns=1, batch=2),
            optimizer=dict(learning_rate=1e-2),
            options=dict(),
            sampler=dict(),
            mesh=dict(),
            loop=dict(steps=10, log_every=2, checkpoint_every=4, keep=None),
        )
    )
    return run_from_dict(override(config, parse_arg(arg, {})[1]))


if __name__ == "__main__":
    workdir, name, seconds, *pairs = sys.argv[1:]
    add_fake_stages(STAGES, float(seconds))
    with exit_codes():
        run_stage(make_run(name, ",".join(pairs)), workdir, quiet=True)
