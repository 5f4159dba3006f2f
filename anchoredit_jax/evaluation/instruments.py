"""What measures an evaluation beside its pixels: extractors of features, a judge."""

import dataclasses

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge import JudgeConfig
from anchoredit_jax.evaluation.measures import FeatureExtractor


@dataclasses.dataclass(frozen=True)
class Instruments:
    """All optional.

    Attributes:
      extractors: of features, each with a name of its own.
      judge: of instructions, an endpoint; None for none.
    """

    extractors: tuple[FeatureExtractor, ...] = ()
    judge: JudgeConfig | None = None

    def __post_init__(self):
        names = [extractor.name for extractor in self.extractors]
        if len(set(names)) < len(names):
            raise UserError(
                f"two extractors share a name ({', '.join(names)}): name them, as in "
                "small=FOLDER"
            )

    def of(self, part: str) -> "Instruments":
        """Those that a part of the evaluation reports; only sessions need a judge."""
        if part == "table":
            return self
        if part == "identity":
            return dataclasses.replace(self, judge=None)
        return Instruments()

    def told(self) -> dict:
        """As plain JSON values; the judge's key is no part of its configuration."""
        judge = None if self.judge is None else dataclasses.asdict(self.judge)
        return {"extractors": [e.name for e in self.extractors], "judge": judge}
