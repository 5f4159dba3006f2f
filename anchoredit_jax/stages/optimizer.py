"""Optimiser and schedule, from Optax."""

import dataclasses

import optax

from anchoredit_jax.errors import UserError
from anchoredit_jax.stages.stored import check_dtype
from anchoredit_jax.strict import result, way


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up.

    Attributes:
      learning_rate: peak.
      schedule: "cosine" (to `final` x peak at `steps`) or "constant".
      steps: length of the schedule in updates.
      warmup: updates of linear warm-up.
      clip: global gradient norm is clipped to this; 0 is off.
      ema: decay of the moving average of the parameters.
      mu_dtype: in which the first moment is kept, "float32" or "bfloat16" (half its
        memory). The second stays float32: what a step adds to it, a share of 1 - b2,
        would be rounded off.
      accumulate: micro-batches a batch is split into; they equal one big batch.
    """

    learning_rate: float = result(1e-4)
    schedule: str = result("cosine")
    steps: int = result(1000)
    warmup: int = result(50)
    final: float = result(0.05)
    b1: float = result(0.9)
    b2: float = result(0.98)
    eps: float = result(1e-8)
    weight_decay: float = result(0.0)
    clip: float = result(1.0)
    ema: float = result(0.995)
    mu_dtype: str = result("float32")
    accumulate: int = way(1)

    def __post_init__(self):
        if self.schedule not in ("cosine", "constant"):
            raise UserError(
                f"optimizer schedule must be cosine or constant, got {self.schedule!r}"
            )
        check_dtype("optimizer.mu_dtype", self.mu_dtype)


def make_schedule(config: OptimizerConfig) -> optax.Schedule:
    """Updates -> learning rate."""
    peak, warmup = config.learning_rate, min(config.warmup, config.steps)
    if config.schedule == "constant":
        return optax.linear_schedule(peak / max(warmup, 1), peak, warmup)
    return optax.warmup_cosine_decay_schedule(
        peak / max(warmup, 1), peak, warmup, max(config.steps, warmup + 1),
        peak * config.final,
    )  # fmt: skip


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The transformation whose state is part of the train state."""
    adam = optax.adamw(
        make_schedule(config),
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        mu_dtype=config.mu_dtype,
    )
    if config.clip == 0:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.clip), adam)
