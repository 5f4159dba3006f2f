"""Operations that a program should have, by formula: the model's, and what is repeated.

`training/work.py` counts the model's own operations. A program has more of them: blocks
that the backward pass computes again, and attention kernels that make their logits anew
rather than keep them. Both are told apart, so that a compiled program can be compared.
"""

import dataclasses

from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.passes import Pass
from anchoredit_jax.training.work import WorkOfPass, WorkOfStep, pass_flops, step_flops


@dataclasses.dataclass(frozen=True)
class Operations:
    """The operations of one execution on all devices together.

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
        """All that a program computes."""
        return self.model + self.rematerialised + self.kernels


def step_operations(run: RunConfig, tokens: int) -> Operations:
    """The operations of the training step that does most, at the configured batch."""
    frames, rows = run.data.turns + 1, run.data.batch
    work = step_flops(run, frames, tokens, rows, "most")
    mean = step_flops(run, frames, tokens, rows, "mean")
    again = kernels = 0.0
    for forward in (one.forward for one in work.passes if one.of.gradient):
        if run.model.remat != "none":
            again += forward["linear"] + forward["prompts"]
            if run.model.remat != "attention":
                again += forward["attention"]
        if run.model.attention == "splash":
            # Two kernels go backward with 3 and 4 products; the model's count is 4.
            kernels += 1.5 * forward["attention"]
    return Operations(
        model=work.total,
        mean=mean.total,
        rematerialised=again,
        kernels=kernels,
        attention=work.parts["attention"],
        dense_attention=sum(_dense_attention(one) for one in work.passes),
    )


def turn_operations(run: RunConfig, tokens: int, rows: int = 1) -> Operations:
    """The operations of an editing turn.

    A turn is the draws of a frame beside a full memory, and its commit.
    """
    slots = run.memory.sink + run.memory.window
    batch = 2 if run.sampler.guidance != 1.0 else 1
    works = []
    for what, times in (("draw", run.sampler.steps), ("commit", 1)):
        one = Pass(what, 1, 1, past=slots, most=times, batch=batch)
        counted = pass_flops(run, one, tokens, rows, "most").forward
        # The instruction is embedded once, before all draws.
        embedding = counted["embedding"] // times
        works.append(WorkOfPass(one, {**counted, "embedding": embedding}))
    work = WorkOfStep(tuple(works))
    seen = work.parts["attention"]
    return Operations(work.total, work.total, 0.0, 0.0, seen, seen)


def _dense_attention(one: WorkOfPass) -> float:
    """What a pass's attention were if all its frames saw all, remembered ones too."""
    frames, past = one.of.frames, one.of.past
    seen = one.of.visibility.pairs(frames) + frames * past
    return one.parts["attention"] * (frames * (frames + past) / seen)
