"""The curriculum: one module a stage, all of the same shape.

A stage module has `Options` (a frozen dataclass), `PARENTS` (stages it may start from),
`init_state(run, parent)`, a loss, `make_train_step(run)`, and `passes(run, frames)`:
the passes of the network that a step makes.
"""

from anchoredit_jax.stages import (
    causal_forcing,
    consistency,
    distribution_matching,
    single_turn,
)
from anchoredit_jax.stages.step import TrainState

STAGES = {
    "single_turn": single_turn,
    "causal_forcing": causal_forcing,
    "consistency": consistency,
    "distribution_matching": distribution_matching,
}

__all__ = ["STAGES", "TrainState"]
