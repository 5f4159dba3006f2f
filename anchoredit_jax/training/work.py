"""Work of a training step: operations of its matrix products, counted from sizes.

Every stage lists its passes (`passes(run, frames)`); `models/flops.py` counts one. A
differentiated pass is three forward ones. These are a model's operations: what
rematerialisation or a kernel computes twice is not in them.
"""

import dataclasses
from collections import Counter

from anchoredit_jax.errors import UserError
from anchoredit_jax.models.flops import forward_flops
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.passes import Pass
from anchoredit_jax.stages.table import STAGES

WHICH = ("mean", "most")


@dataclasses.dataclass(frozen=True)
class WorkOfPass:
    """Operations of one kind of pass in a step of the whole batch.

    Attributes:
      of: the pass.
      forward: operations of its forward passes, by part as in `forward_flops`.
    """

    of: Pass
    forward: dict[str, float]

    @property
    def parts(self) -> dict[str, float]:
        """The operations of forward and backward pass, by part."""
        times = 3 if self.of.gradient else 1
        return {part: times * count for part, count in self.forward.items()}

    @property
    def total(self) -> float:
        """Forward and backward, all parts."""
        return sum(self.parts.values())


@dataclasses.dataclass(frozen=True)
class WorkOfStep:
    """Operations of a training step of the whole batch, pass by pass."""

    passes: tuple[WorkOfPass, ...]

    @property
    def parts(self) -> dict[str, float]:
        """The operations of each part that `forward_flops` tells apart."""
        total: Counter[str] = Counter()
        for work in self.passes:
            total.update(work.parts)
        return dict(total)

    @property
    def total(self) -> float:
        """Of all passes."""
        return sum(work.total for work in self.passes)


def step_flops(
    run: RunConfig, frames: int, tokens: int, rows: int, which: str = "mean"
) -> WorkOfStep:
    """Operations of one training step of `run.stage`.

    Args:
      frames: T, of the batch's sequences.
      tokens: L, of a frame.
      rows: samples of the whole batch.
      which: "mean" over steps and samples, or of the step that does "most".

    Raises:
      UserError: another `which`.
    """
    if which not in WHICH:
        raise UserError(f"work of a step: which must be one of {WHICH}, got {which!r}")
    passes = STAGES[run.stage].passes(run, frames)
    works = (pass_flops(run, one, tokens, rows, which) for one in passes)
    return WorkOfStep(tuple(works))


def pass_flops(
    run: RunConfig, one: Pass, tokens: int, rows: int, which: str = "mean"
) -> WorkOfPass:
    """Operations of all executions of one kind of pass, as `step_flops` counts them."""
    forward = forward_flops(
        run.model,
        frames=one.frames,
        tokens=tokens,
        prompts=one.prompts,
        text_tokens=run.text.length,
        visibility=one.visibility,
        past=one.past,
        which=which,
    )
    times = rows * one.batch * getattr(one, which)
    return WorkOfPass(one, {part: times * count for part, count in forward.items()})
