"""One line of a plan: a program on a mesh of some chips, what it needs and may take."""

import dataclasses
import math
from typing import Any

from anchoredit_jax.parallel.chips import CHIPS


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanRow:
    """What a compiled program needs of a chip, and what bounds its speed.

    Attributes:
      size, program: the size of the model; a stage, or "turn".
      topology, chips, mesh: where; the mesh by axis.
      batch, frames, tokens: samples of a step, frames of a sequence, tokens of a frame.
      sides, bucket: (height, width) of the images in pixels, and which shape that is.
      remat: `model.remat`.
      memory: GiB a chip by what it is; "temporaries" are activations, gradients and
        buffers of collectives.
      peak, hbm: GiB that the program needs of a chip, and that the chip has.
      missing: GiB that it lacks, 0 where it fits.
      model_flops, repeated_flops: of all chips by the formula: the model's, and what
        rematerialisation and attention's backward kernels compute again.
      compiled_flops: operations of all chips, counted in the compiled program. It and
        all that is counted there is NaN or empty where the program was refused as too
        large.
      attention_share: attention between frames, of what it were if all frames saw all;
        where samples have memory policies of their own, of the one that sees most.
      mean_flops: `model_flops` of the mean step: over policies, and what is drawn.
      compiled_attention_share: blocks that the compiled kernels work, of all blocks.
      hbm_bytes, host_bytes, collective_bytes: what a chip moves; the last by kind.
      hidden_bytes: the part of `collective_bytes` that is sent while products are
        computed, see `overlap.is_hidden`.
      seconds: predicted lower bounds of one execution, by resource.
      compile_seconds: how long compiling took.
      note: what was chosen for this line, or tried.
      of: digest of the configuration that was compiled.
    """

    size: str
    program: str
    topology: str
    chips: int
    mesh: dict[str, int]
    batch: int
    frames: int
    tokens: int
    sides: tuple[int, int]
    bucket: str
    remat: str
    memory: dict[str, float]
    peak: float
    hbm: float
    missing: float
    model_flops: float
    mean_flops: float
    repeated_flops: float
    compiled_flops: float = math.nan
    attention_share: float
    compiled_attention_share: float = math.nan
    hbm_bytes: float = math.nan
    host_bytes: float = math.nan
    collective_bytes: dict[str, float] = dataclasses.field(default_factory=dict)
    hidden_bytes: float = math.nan
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    compile_seconds: float
    note: str = ""
    of: str = ""

    @property
    def fits(self) -> bool:
        """Whether the chip's memory is enough."""
        return self.missing == 0 and self.peak <= self.hbm

    @property
    def bound(self) -> str:
        """The resource that is needed longest; "" where nothing was compiled."""
        return max(self.seconds, key=self.seconds.__getitem__, default="")

    @property
    def predicted_seconds(self) -> float:
        """A lower bound of one execution: no resource can be faster."""
        return max(self.seconds.values(), default=math.nan)

    @property
    def serial_seconds(self) -> float:
        """The same where no resource works while another one does."""
        return sum(self.seconds.values()) if self.seconds else math.nan

    @property
    def agreement(self) -> float:
        """Operations of the compiled program over those of the formula."""
        return self.compiled_flops / (self.model_flops + self.repeated_flops)

    @property
    def predicted_mfu(self) -> float:
        """Upper bound: model operations over what the chips could do meanwhile."""
        peak = CHIPS[self.topology.partition(":")[0]].tflops * 1e12 * self.chips
        return self.model_flops / (self.predicted_seconds * peak)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with what follows from them."""
        derived = ["fits"]
        if self.seconds:
            derived += ["bound", "predicted_seconds", "serial_seconds"]
            derived += ["agreement", "predicted_mfu"]
        return dataclasses.asdict(self) | {
            name: getattr(self, name) for name in derived
        }
