"""The passes of the network that make up a training step, as each stage lists them."""

import dataclasses

from anchoredit_jax.memory import FrameVisibility

CAUSAL = FrameVisibility("causal")


@dataclasses.dataclass(frozen=True)
class Pass:
    """Forward passes of the network in one step, per sample.

    Attributes:
      what: a name for tables: "target", "teacher", "rollout draw", ...
      frames: T, query frames.
      prompts: N that go in with them.
      visibility: rule of those frames among themselves, with its choices.
      past: P, slots of the memory that all of them attend to, empty ones too: those
        are masked, and cost the same.
      mean: executions a step, on average over steps (how often, and drawn counts).
      most: executions in the step that does most.
      batch: rows that a sample makes (2 where conditional and unconditional go
        together).
      gradient: whether the pass is differentiated.
    """

    what: str
    frames: int
    prompts: int
    visibility: FrameVisibility = CAUSAL
    past: int = 0
    mean: float = 1.0
    most: int = 1
    batch: int = 1
    gradient: bool = False


def rollout_passes(
    what: str, frames: int, draws: int, *, mean: float, most: int, rate: float = 1.0
) -> tuple[Pass, ...]:
    """List the passes of `rollout.generate_history`.

    These are one of the source, then draws and a commit for every turn.

    Args:
      what: begins the names.
      frames: T of the sequence, the slots of the memory.
      draws: network evaluations per frame.
      mean, most: turns of a rollout, on average and at most.
      rate: the share of the steps that roll out.
    """
    return (
        Pass(f"{what} source", 1, 1, mean=rate),
        Pass(
            f"{what} draw", 1, 1, past=frames,
            mean=rate * mean * draws, most=most * draws,
        ),
        Pass(f"{what} commit", 1, 1, past=frames, mean=rate * mean, most=most),
    )  # fmt: skip
