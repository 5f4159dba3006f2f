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
from anchoredit_jax.strict import plain, result, way


@dataclasses.dataclass(frozen=True)
class LoopConfig:
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

    steps: int = way(1000)
    log_every: int = way(20)
    checkpoint_every: int = way(200)
    keep: int | None = way(2)
    keep_every: int | None = way(None)
    keep_best: int = way(0)
    best_by: str | None = way(None)
    best_mode: str = way("min")
    skip_nonfinite: int = result(0)
    spike_factor: float = result(0.0)
    skip_spikes: bool = result(False)

    def __post_init__(self):
        for name in ("steps", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise UserError(f"loop.{name} must be 1 or more")
        if self.keep is not None and self.keep < 1:
            raise UserError("loop.keep must be 1 or more, or none for all")
        if self.keep_every is not None and self.keep_every < 1:
            raise UserError("loop.keep_every must be 1 step or more, or none")
        if self.keep_best < 0 or self.skip_nonfinite < 0:
            raise UserError("loop.keep_best and loop.skip_nonfinite must be 0 or more")
        if bool(self.keep_best) != (self.best_by is not None):
            raise UserError(
                "loop.keep_best and loop.best_by, the name of a metric, need each "
                f"other; got {self.keep_best} and {self.best_by!r}"
            )
        if self.best_mode not in ("min", "max"):
            raise UserError(
                f"loop.best_mode must be min or max, got {self.best_mode!r}"
            )
        if self.spike_factor and self.spike_factor <= 1:
            raise UserError(
                f"loop.spike_factor must be more than 1, or 0 for none, got "
                f"{self.spike_factor}"
            )
        if self.skip_spikes and not self.spike_factor:
            raise UserError("loop.skip_spikes needs loop.spike_factor")


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

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dicts (tuples stay tuples)."""
        return plain(self)

    def to_json(self) -> str:
        """One JSON object; `config.run_from_json` gives back an equal `RunConfig`."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)

    def replace(self, **changes: Any) -> "RunConfig":
        """A copy with whole sections replaced."""
        return dataclasses.replace(self, **changes)
