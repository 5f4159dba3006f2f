"""Compile time against depth: scanned layers are compiled once, however many."""

import jax

from anchoredit_jax.planning.shapes import batch_shapes
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
