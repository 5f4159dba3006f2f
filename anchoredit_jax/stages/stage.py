"""What a stage of the curriculum is: the type that every stage fills in.

A stage is one file beside this one, ending in `STAGE = Stage(...)`, and one line in
`table.py`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from anchoredit_jax.models.codec import Codec
from anchoredit_jax.optimizer import AdamConfig
from anchoredit_jax.parallel.sharded import CompiledStep
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.passes import Pass
from anchoredit_jax.stages.step import LossFn, Step, TrainState, simple_step

IMPORTED = "imported"  # the "stage" of weights that no stage of ours has made


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of the curriculum.

    Attributes:
      name: of the stage, in configurations, folders and lineage.
      options: dataclass of the configuration's section `options`.
      parents: stages whose weights it may start from, the usual one first; one that
        names nothing but itself and `IMPORTED` may start from random values too, see
        `checkpoint.lineage.check_parent`.
      init_state: (run, trees of the parent by name, or None) -> the state at step 0.
      passes: (run, T frames) -> the passes of the network in a step, per sample.
      draw_targets: (keys [B], run) -> timesteps that targets are trained at, any shape.
      loss_fn: (run, params, state, batch) -> (errors [B], weights [B], metrics), of a
        stage that trains one network; `train_step` says the rest of any other.
      train_step: (run, codec or None) -> (the step, its frozen parameters or None),
        see `CompiledStep`, where `loss_fn` does not say all.
      optimizers: run -> name of a learning rate among the metrics -> whose it is.
      with_teacher: parents that bring a teacher along, which goes on teaching.
    """

    name: str
    options: type
    parents: tuple[str, ...]
    init_state: Callable[[RunConfig, Any], TrainState]
    passes: Callable[[RunConfig, int], tuple[Pass, ...]]
    draw_targets: Callable[[jax.Array, RunConfig], jax.Array] | None = None
    loss_fn: LossFn | None = None
    train_step: Callable[[RunConfig, Codec | None], tuple[Step, Any]] | None = None
    optimizers: Callable[[RunConfig], dict[str, AdamConfig]] = lambda run: {
        "learning_rate": run.optimizer
    }
    with_teacher: tuple[str, ...] = ()

    def make_train_step(
        self, run: RunConfig, codec: Codec | None = None, mesh: Mesh | None = None
    ) -> CompiledStep:
        """(state, batch) -> (state, metrics), compiled once, donating the state.

        Args:
          codec: the run's, for a degradation that passes through it.
          mesh: that state and batch lie on; None is the first device.
        """
        if self.train_step is not None:
            step, frozen = self.train_step(run, codec)
            return CompiledStep(step, mesh, frozen)
        assert self.loss_fn is not None  # one of the two makes a step
        loss_fn = functools.partial(self.loss_fn, run)
        return CompiledStep(simple_step(loss_fn, run.optimizer, run.loop), mesh)
