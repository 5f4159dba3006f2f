"""The stages by name, in the order of the curriculum. A further one is a line here."""

from anchoredit_jax.stages import (
    causal_forcing,
    consistency,
    distribution_matching,
    single_turn,
)
from anchoredit_jax.stages.stage import Stage

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        single_turn.STAGE,
        causal_forcing.STAGE,
        consistency.STAGE,
        distribution_matching.STAGE,
    )
}
