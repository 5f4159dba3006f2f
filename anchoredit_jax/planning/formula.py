"""Operations that a program should have, by formula: the model's, and what is repeated.

`training/work.py` counts the model's own operations. A program has more of them: blocks
that the backward pass computes again, and attention kernels that make their logits anew
rather than keep them. Both are told apart, so that a compiled program can be compared.
"""

import dataclasses

from anchoredit_jax.models.flops import forward_flops
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.passes import Pass
from anchoredit_jax.training.work import WorkOfPass, WorkOfStep, step_flops


@dataclasses.dataclass(frozen=True)
class Operations:
    """Of one execution, all devices together.

    Attributes:
      model: forward and, where differentiated, twice as much backward.
      mean: the same of the mean execution, where some do less.
      rematerialised: forward once more, of what `model.remat` does not keep.
      kernels: logits that attention's backward kernels compute again.
      attention: the part of `model` that is attention between frames.
      dense_attention: the same, if every frame saw every frame.
    """

    model: float
    mean: float
    rematerialised: float
    kernels: float
    attention: float
    dense_attention: float

    @property
    def total(self) -> float:
        return self.model + self.rematerialised + self.kernels


def step_operations(run: RunConfig, tokens: int) -> Operations:
    """Of the training step that does most, at the configured batch."""
    frames = run.data.turns + 1
    work = step_flops(run, frames, tokens, run.data.batch, "most")
    dense = sum(one.parts["attention"] * _dense_share(one.of) for one in work.passes)
    mean = step_flops(run, frames, tokens, run.data.batch, "mean")
    return _operations(run, work, mean.total, dense)


def turn_operations(run: RunConfig, tokens: int, rows: int = 1) -> Operations:
    """Of an editing turn: the draws of a frame beside a full memory, and its commit."""
    slots = run.memory.sink + run.memory.window
    guided = 2 if run.sampler.guidance != 1.0 else 1
    works = []
    for what, times in (("draw", run.sampler.steps), ("commit", 1)):
        one = Pass(what, 1, 1, past=slots, most=times, batch=guided)
        forward = forward_flops(
            run.model, frames=1, tokens=tokens, prompts=1,
            text_tokens=run.text.length, visibility=one.visibility, past=slots,
        )  # fmt: skip
        scale = rows * guided
        total = {k: scale * times * v for k, v in forward.items()}
        total["embedding"] = scale * forward["embedding"]  # once, before all draws
        works.append(WorkOfPass(one, total))
    work = WorkOfStep(tuple(works))
    return _operations(run, work, work.total, work.parts["attention"])


def _operations(run, work, mean, dense):
    again = kernels = 0.0
    for one in work.passes:
        if not one.of.gradient:
            continue
        forward = one.forward
        if run.model.remat != "none":
            again += forward["linear"] + forward["prompts"]
            if run.model.remat != "attention":
                again += forward["attention"]
        if run.model.attention == "splash":
            # Two kernels go backward with 3 and 4 products; the model's count is 4.
            kernels += 1.5 * forward["attention"]
    attention = work.parts["attention"]
    return Operations(work.total, mean, again, kernels, attention, dense)


def _dense_share(one: Pass) -> float:
    seen = one.visibility.pairs(one.frames) + one.frames * one.past
    return one.frames * (one.frames + one.past) / seen
