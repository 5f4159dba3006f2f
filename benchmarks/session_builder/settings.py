"""What a benchmark must be like."""

import dataclasses

from anchoredit_jax.data.images import MIN_SIDE
from anchoredit_jax.errors import UserError
from benchmarks.session_builder.notation import LANGUAGE


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings:
    """The bounds, and how texts are read and drawn.

    Attributes:
      min_side: pixels of an image's shorter side, at least.
      turns: the fewest and the most of a session.
      language: that plain texts are in.
      seed: of the draws from a pool.
    """

    min_side: int = 1024
    turns: tuple[int, int] = (10, 20)
    language: str = "en"
    seed: int = 0

    def __post_init__(self):
        if self.min_side < MIN_SIDE:
            raise UserError(f"min_side must be {MIN_SIDE} or more, not {self.min_side}")
        if not 1 <= self.turns[0] <= self.turns[1]:
            raise UserError(
                "turns must be the fewest and the most, 1 or more, not "
                f"{self.turns[0]} and {self.turns[1]}"
            )
        if not LANGUAGE.fullmatch(self.language):
            raise UserError(f"language must be such as 'en', not {self.language!r}")
        if self.seed < 0:
            raise UserError(f"seed must be 0 or more, not {self.seed}")
