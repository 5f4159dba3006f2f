"""Where a configuration trains, beside where its sampler asks: a table.

python -m anchoredit_jax.testing.noise_levels configs/wan_14b.py configs/sprites.py
"""

import sys

import jax
import numpy as np

from anchoredit_jax.config import load_config, with_argument
from anchoredit_jax.diffusion import samplers, schedule
from anchoredit_jax.errors import exit_on_user_error
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.table import STAGES

DRAWS = 100_000


def draw_targets(run: RunConfig, count: int = DRAWS) -> np.ndarray:
    """About `count` timesteps that targets are trained at, by the stage's own draw.

    Of distribution matching those of its scores: the generator trains at the sampler's.
    """
    stage = STAGES[run.stage]
    root = jax.random.key(run.seed)
    one = jax.eval_shape(lambda keys: stage.draw_targets(keys, run), root[None])
    keys = jax.random.split(root, count // one.size)
    return np.asarray(stage.draw_targets(keys, run)).ravel()


def asked_levels(run: RunConfig) -> np.ndarray:
    """See `samplers.asked_levels`."""
    return samplers.asked_levels(run.sampler)


def shares(run: RunConfig, timesteps: np.ndarray) -> np.ndarray:
    """The part of them in each interval from one of `asked_levels` down to the next,
    the last one to 0."""
    edges = np.append(asked_levels(run)[1:], 0.0)[::-1]
    counts, _ = np.histogram(timesteps, [*edges, schedule.TIMESTEPS])
    return counts[::-1] / len(timesteps)


def describe(run: RunConfig) -> str:
    """One line: mean, shares above 833 and 937, and by interval."""
    drawn = draw_targets(run)
    parts = " ".join(f"{share:.3f}" for share in shares(run, drawn))
    levels = " ".join(f"{level:.0f}" for level in asked_levels(run))
    return (
        f"{run.stage:21} mean {drawn.mean():3.0f}  above 833 {np.mean(drawn > 833):.3f}"
        f"  above 937 {np.mean(drawn > 937):.3f}  below {levels}: {parts}"
    )


if __name__ == "__main__":
    with exit_on_user_error():
        for spec in sys.argv[1:]:
            print(spec)
            for stage in STAGES:
                print(" ", describe(load_config(with_argument(spec, "stage", stage))))
