"""Optimiser and schedule, from Optax.

Lengths are loop steps, those of `loop.steps`, whatever share of them updates a network:
the generator of distribution matching is updated at every `critic_ratio`-th.
"""

import dataclasses

import optax

from anchoredit_jax.strict import Bounded, result, way
from anchoredit_jax.trees import DTYPES

SCHEDULES = ("cosine", "constant")
CRITIC_RATE = 5.0  # critic's learning rate beside the generator's (the reference)


@dataclasses.dataclass(frozen=True)
class AdamConfig(Bounded, place="optimizer"):
    """Settings of AdamW with a warm-up.

    Attributes:
      learning_rate: peak.
      schedule: "cosine" (to `final` x peak at `steps`) or "constant".
      steps: length of the schedule in loop steps.
      warmup: loop steps of linear warm-up.
      final: the rate at the end of a cosine schedule, as a share of the peak.
      b1, b2: decay of the running means of gradients and of their squares, per update.
      eps: added to the root of the second moment, against divisions by zero.
      weight_decay: of the parameters themselves, times the learning rate (AdamW).
      clip: global gradient norm is clipped to this; 0 is off.
      mu_dtype: in which the first moment is kept, "float32" or "bfloat16" (half its
        memory). The second stays float32: what a step adds to it, a share of 1 - b2,
        would be rounded off.
    """

    learning_rate: float = result(1e-4, within="[0, 1000]")
    schedule: str = result("cosine", within=SCHEDULES)
    steps: int = result(1000, within="[1, 1e9]")
    warmup: int = result(50, within="[0, 1e9]")
    final: float = result(0.05, within="[0, 1]")
    b1: float = result(0.9, within="[0, 1)")
    b2: float = result(0.999, within="[0, 1)")
    eps: float = result(1e-8, within="[0, 1]")
    weight_decay: float = result(0.0, within="[0, 1000]")
    clip: float = result(1.0, within="[0, 1e9]")
    mu_dtype: str = result("float32", within=DTYPES)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(AdamConfig):
    """Settings of AdamW, and of what a step does beside it.

    Attributes:
      ema: decay of the moving average of the parameters, per update.
      ema_warmup: the average's memory grows with the updates made, n: the decay is at
        most (1 + n) / (10 + n), so that 0.99 is reached at update 890 and 0.999 at
        8,990. Without it the decay holds from the first update, and what a stage
        starts from keeps a weight of decay ** n in its average.
      accumulate: micro-batches a batch is split into; they equal one big batch.
    """

    ema: float = result(0.995, within="[0, 1)")
    ema_warmup: bool = result(True)
    accumulate: int = way(1, within="[1, 1e6]")


@dataclasses.dataclass(frozen=True)
class CriticConfig(Bounded, place="options.critic"):
    """The critic's own AdamW, fields as in `AdamConfig`.

    Its schedule is as long as the generator's, `optimizer.steps`.

    Attributes:
      learning_rate: peak; None is 5 times the generator's, as in the reference.
      schedule, warmup, final: as of `optimizer`.
      b1, b2, eps, weight_decay: as of `optimizer`.
      clip, mu_dtype: as of `optimizer`.
    """

    learning_rate: float | None = result(None, within="[0, 1000]")
    schedule: str = result("constant", within=SCHEDULES)
    warmup: int = result(50, within="[0, 1e9]")
    final: float = result(0.05, within="[0, 1]")
    b1: float = result(0.9, within="[0, 1)")
    b2: float = result(0.999, within="[0, 1)")
    eps: float = result(1e-8, within="[0, 1]")
    weight_decay: float = result(0.0, within="[0, 1000]")
    clip: float = result(1.0, within="[0, 1e9]")
    mu_dtype: str = result("float32", within=DTYPES)

    def beside(self, generator: AdamConfig) -> AdamConfig:
        """The settings in full, beside those of the generator."""
        settings = dataclasses.asdict(self)
        if self.learning_rate is None:
            settings["learning_rate"] = CRITIC_RATE * generator.learning_rate
        return AdamConfig(steps=generator.steps, **settings)


def make_schedule(config: AdamConfig) -> optax.Schedule:
    """Loop step -> learning rate."""
    peak, warmup = config.learning_rate, min(config.warmup, config.steps)
    if config.schedule == "constant":
        return optax.linear_schedule(peak / max(warmup, 1), peak, warmup)
    return optax.warmup_cosine_decay_schedule(
        peak / max(warmup, 1), peak, warmup, max(config.steps, warmup + 1),
        peak * config.final,
    )  # fmt: skip


def make_optimizer(config: AdamConfig, every: int = 1) -> optax.GradientTransformation:
    """The transformation whose state is part of the train state.

    Args:
      every: loop steps from one update to the next; the first is at loop step 0.
    """
    schedule = make_schedule(config)
    adam = optax.adamw(
        schedule if every == 1 else lambda updates: schedule(updates * every),
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        mu_dtype=config.mu_dtype,
    )
    if config.clip == 0:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.clip), adam)
