"""One run's configuration: frozen, hashable dataclasses, a section for each room.

`config.py` reads it from files, and from what checkpoints store; this module knows no
stage, so that every room can name the type.
"""

import dataclasses
import json
from typing import Any

from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models.codec import CodecConfig
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.text import TextConfig
from anchoredit_jax.optimizer import OptimizerConfig
from anchoredit_jax.parallel import MeshConfig
from anchoredit_jax.strict import Bounded, plain, result, way


@dataclasses.dataclass(frozen=True)
class LoopConfig(Bounded):
    """How long a stage runs and how often it reports.

    Attributes:
      steps: optimizer steps of the stage.
      log_every: steps between two fetches of the metrics; each row of metrics.jsonl
        is the mean over the steps since the last.
      checkpoint_every: steps between two checkpoints; the last step is always saved.
      keep: how many of the latest checkpoints stay; None keeps all.
      keep_every: those of every so many steps stay besides.
      keep_best: so many of the best stay besides, by `best_by`.
      best_by: name of a metric in the row of a checkpoint's step.
      best_mode: "min" or "max", which values of it are the best.
      skip_nonfinite: so many updates that are not finite are left out, over the whole
        run; one more stops it. Without any the first one does.
      spike_factor: a step whose gradient's norm is more than this times the median of
        the last 64 is told as a spike; 0 looks for none.
      skip_spikes: the updates of spikes are left out.
    """

    steps: int = way(1000, within="[1, 1e9]")
    log_every: int = way(20, within="[1, 1e9]")
    checkpoint_every: int = way(200, within="[1, 1e9]")
    keep: int | None = way(2, within="[1, 1e9]")
    keep_every: int | None = way(None, within="[1, 1e9]")
    keep_best: int = way(0, within="[0, 1e6]")
    best_by: str | None = way(None)
    best_mode: str = way("min", within=("min", "max"))
    skip_nonfinite: int = result(0, within="[0, 1e9]")
    spike_factor: float = result(0.0, within="[0, 1e9]")
    skip_spikes: bool = result(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.keep_best) != (self.best_by is not None):
            raise UserError(
                "loop.keep_best and loop.best_by, the name of a metric, need each "
                f"other; got {self.keep_best} and {self.best_by!r}"
            )
        if 0 < self.spike_factor <= 1:
            raise UserError(
                "loop.spike_factor must be more than 1, or 0 for none, got "
                f"{self.spike_factor}"
            )
        if self.skip_spikes and not self.spike_factor:
            raise UserError("loop.skip_spikes needs loop.spike_factor")


@dataclasses.dataclass(frozen=True)
class EvalConfig(Bounded):
    """What is measured on held-out sessions while a stage trains.

    It reads the weights and changes nothing: a run has the same bits with and without.
    Prepared sessions need `data.sessions.held_out`; sprites have held-out ones anyway.

    Attributes:
      every: steps between two measures of the loss, by noise level and turn, also
        before the first step and after the last; 0 for none.
      sessions: that the loss is measured on.
      edits_every: steps between two sheets of sessions that are edited turn after turn
        by the run's own sampler and memory, also after the last step; 0 for none.
      edits: sessions on a sheet.
      turns: of a session on a sheet, or as many as it has.
    """

    every: int = way(0, within="[0, 1e9]")
    sessions: int = way(16, within="[1, 1e4]")
    edits_every: int = way(0, within="[0, 1e9]")
    edits: int = way(4, within="[1, 100]")
    turns: int = way(5, within="[1, 100]")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides one stage's run. Hashable, so it can be static in jit.

    Attributes:
      stage: name of the stage, a key of `stages.table.STAGES`.
      seed: root of every random draw of the run, and nothing else.
      options: of that stage, an instance of its `Stage.options`.
    """

    stage: str
    seed: int
    model: TransformerConfig
    codec: CodecConfig
    text: TextConfig
    memory: MemoryConfig
    data: DataConfig
    optimizer: OptimizerConfig
    options: Any
    sampler: SamplerConfig
    loop: LoopConfig
    mesh: MeshConfig
    eval: EvalConfig = EvalConfig()

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed must be in [0, 2**63), given {self.seed}")
        batch, parts = self.data.batch, self.optimizer.accumulate
        if batch % parts:
            raise UserError(
                f"data.batch must be a multiple of optimizer.accumulate, given {batch} "
                f"samples in {parts} micro-batches"
            )

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dicts (tuples stay tuples)."""
        return plain(self)

    def to_json(self) -> str:
        """One JSON object; `config.run_from_json` gives back an equal `RunConfig`."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)

    def replace(self, **changes: Any) -> "RunConfig":
        """A copy with whole sections replaced."""
        return dataclasses.replace(self, **changes)
