"""Compile time against depth, and as commands compile against XLA's default.

Scanned layers are compiled once, however many.
"""

import functools

import jax
import jax.numpy as jnp

from anchoredit_jax.command_line.programs import QUICKLY
from anchoredit_jax.config import load_config
from anchoredit_jax.planning.shapes import batch_shapes
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import tiny_run
from benchmarks.timing import Timing, interleave

DEPTHS = (4, 40)
SIDE = 16  # pixels of the images


def benchmark_compile(
    depths: tuple[int, ...] = DEPTHS, repetitions: int = 3
) -> dict[int, Timing]:
    """Tracing, lowering and compiling a causal training step of a tiny width.

    Returns:
      times by number of layers.
    """
    return interleave(
        {depth: lambda depth=depth: lowered_step(depth).compile() for depth in depths},
        repetitions,
    )


def benchmark_quick_compile(
    run: RunConfig | None = None, repetitions: int = 3, steps: int = 10
) -> tuple[dict[str, Timing], dict[str, Timing]]:
    """What `prepare_compiling` asks of XLA on a CPU, beside XLA's own default.

    Args:
      run: a configuration of stage 1; the toy's by default.

    Returns:
      times of compiling its training step, and of the step, by "default" and "quickly".
    """
    run = run or load_config("configs/sprites.py:stage=single_turn")
    stage = STAGES[run.stage]
    state = stage.init_state(run)
    shapes = batch_shapes(run, run.data.size, run.data.size)
    batch = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    lowered = stage.make_train_step(run).lower(state, batch)
    name, _, value = QUICKLY.removeprefix("--").partition("=")
    options = {"default": None, "quickly": {name: value}}
    compiled, states = {}, {}

    def compile_with(how: str) -> None:
        compiled[how] = lowered.compile(compiler_options=options[how])

    def step_with(how: str) -> jax.Array:
        states[how], metrics = compiled[how](states[how], batch)
        return metrics["loss"]

    compiling = interleave(
        {how: functools.partial(compile_with, how) for how in options}, repetitions
    )
    states = {how: jax.tree.map(jnp.copy, state) for how in options}  # steps take them
    stepping = interleave(
        {how: functools.partial(step_with, how) for how in options}, steps
    )
    return compiling, stepping


def lowered_step(layers: int) -> jax.stages.Lowered:
    """The step of a model of this depth, lowered anew."""
    run = tiny_run(
        "causal_forcing",
        model=dict(num_layers=layers, remat="block", channels=4),
        data=dict(turns=2, batch=2, size=SIDE),
    )
    stage = STAGES[run.stage]
    params = jax.eval_shape(
        lambda: STAGES["single_turn"].init_state(
            tiny_run("single_turn", model=dict(num_layers=layers, channels=4))
        )
    ).params
    state = jax.eval_shape(lambda tree: stage.init_state(run, {"ema": tree}), params)
    return stage.make_train_step(run).lower(state, batch_shapes(run, SIDE, SIDE))
