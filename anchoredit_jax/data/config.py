"""What a run trains on: the section `data` of a configuration.

`DataConfig.kind` chooses a kind of data; each has a section of its own, the field of
its name, and a field that the chosen kind does not read is refused. What a kind is
opened as stands in `kinds.py`.
"""

import dataclasses
import math
from collections.abc import Mapping

from anchoredit_jax.data.buckets import BucketConfig
from anchoredit_jax.data.images import MAX_PIXELS
from anchoredit_jax.data.sprites import DEFAULT_WEIGHTS, ENDLESS, SpriteSource
from anchoredit_jax.data.sprites.instructions import check_weights
from anchoredit_jax.data.sprites.render import MIN_SIZE
from anchoredit_jax.data.sprites.sessions import LAYOUTS
from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import (
    Bounded,
    FieldError,
    FrozenMapping,
    choose_kind,
    result,
    way,
)

SESSION_LAYOUTS = ("chain", "pairs")
MOST_NULLS = 0.9  # of prepared sessions, whose edits are all shown besides
_MOST_PIXELS = math.isqrt(MAX_PIXELS)  # of a side: no larger image is decoded
_MADE = ("sprites", "sessions")  # kinds whose samples are put together here


@dataclasses.dataclass(frozen=True)
class SpritesConfig(Bounded, place="data.sprites"):
    """Procedural sessions with exact ground truth, made when asked for.

    Attributes:
      weights: kind of edit -> how often, relative to the others. Kinds that are not
        named never occur.
      layout: "chain" (each edit follows the last) or "star" (all edit the source).
      length: sessions before the sequence starts again; small ones are for overfitting.
    """

    weights: Mapping[str, float] = result(
        FrozenMapping(DEFAULT_WEIGHTS), within="[0, 1e9]"
    )
    layout: str = result("chain", within=LAYOUTS)
    length: int = result(ENDLESS, within=f"[1, {ENDLESS}]")

    def __post_init__(self):
        super().__post_init__()
        try:
            check_weights(self.weights)
        except UserError as error:
            raise FieldError(self, "weights", f"cannot be used: {error}") from error


@dataclasses.dataclass(frozen=True)
class RecordsConfig:
    """Sprite sessions that `sprites.build_sprites` wrote, read in their order.

    Attributes:
      path: the folder that it returned.
    """

    path: str = way()


@dataclasses.dataclass(frozen=True)
class SessionsConfig(Bounded, place="data.sessions"):
    """Prepared sessions of images.

    Attributes:
      path: a folder of launch/prepare_data.py.
      cache: its feature cache; None computes latents and embeddings anew at every step.
      layout: "pairs": every edit of every session once an epoch, as two frames; or
        "chain": the source and a run of successive turns that may start anywhere, every
        turn of every session once an epoch as a target.
      buckets: the sizes that images are cut to.
      held_out: about this share of the sessions is never trained on: those on which a
        run is measured while it goes on (the section `eval`). By a session's name, so
        one stays held out when the dataset grows.
      exclude: names of sessions that are not shown; their places in the batches stay
        empty, and all others are what they were.
    """

    path: str = way()
    cache: str | None = way(None)
    layout: str = result("chain", within=SESSION_LAYOUTS)
    buckets: BucketConfig = BucketConfig()
    held_out: float = result(0.0, within="[0, 1)")
    exclude: tuple[str, ...] = result(())


@dataclasses.dataclass(frozen=True)
class DataConfig(Bounded):
    """Which sessions a run trains on.

    Attributes:
      kind: "sprites", procedural sessions; "records", stored ones of them; "sessions",
        prepared ones of images. Its section says the rest.
      size: side of the images, pixels; of "sessions" the side of the square whose area
        they have.
      turns: N, edits of a sample; its frames are T = N + 1. The most, of the sessions'
        layout "chain"; 1 of "pairs".
      batch: B, samples of a step.
      seed: names an endless sequence of sprites, or the order of prepared sessions. Of
        records the seed they were built with: evaluation keeps away from it.
      workers: processes that make batches; 0 for threads of this one.
      null_fraction: this share of the turns has the null instruction "" and changes
        nothing: the frame before is to be kept.
      drop_fraction: of this share of the edits the instruction is left out, the null
        instruction stands in its place; what guidance needs.
      skip_probability: this share of the samples shows a source that differs from the
        frame that is edited in more than the turns shown could change, as late in a
        long session, where a memory holds the source and a few recent frames. The first
        frame behind such a gap is history only. Of "sessions" the share, of those whose
        turns would fit into one run, that is cut all the same; parts of longer ones
        have such gaps anyway.
      skip_turns: of sprites, the most turns left out behind the source, 1 or more of
        them where any; 0 for no gaps at all.
    """

    kind: str = result("sprites")
    size: int = result(32, within=f"[1, {_MOST_PIXELS}]")
    turns: int = result(1, within="[1, 1e4]")
    batch: int = result(16, within="[1, 1e7]")
    seed: int = result(0, within="[0, 9223372036854775807]")
    workers: int = way(0, within="[0, 1024]")
    null_fraction: float = result(0.05, kinds=_MADE, within="[0, 1]")
    drop_fraction: float = result(0.0, kinds=_MADE, within="[0, 1]")
    skip_probability: float = result(0.5, kinds=_MADE, within="[0, 1]")
    skip_turns: int = result(0, kinds=("sprites",), within="[0, 1e4]")
    sprites: SpritesConfig | None = None
    records: RecordsConfig | None = None
    sessions: SessionsConfig | None = None

    def sprite_source(self) -> SpriteSource:
        """The sessions that are made on demand, of the kind "sprites"."""
        made = self.sprites
        return SpriteSource(
            turns=self.turns,
            seed=self.seed,
            size=self.size,
            weights=dict(made.weights),
            null_fraction=self.null_fraction,
            length=made.length,
            layout=made.layout,
            skip_turns=self.skip_turns,
            skip_probability=self.skip_probability,
            drop_fraction=self.drop_fraction,
        )

    def __post_init__(self):
        super().__post_init__()
        choose_kind(self, "data")
        if self.kind in ("sprites", "records") and self.size < MIN_SIZE:
            raise UserError(f"data.size must be {MIN_SIZE} or more, got {self.size}")
        if self.skip_turns:
            self._check_skipping()
        if self.sessions is not None:
            self._check_sessions()

    def _check_skipping(self) -> None:
        if self.sprites.layout == "star":
            raise UserError(
                "data.skip_turns must be 0 with data.sprites.layout 'star', whose "
                "edits all start from the source"
            )
        if self.turns < 2:
            raise UserError(
                "data.skip_turns needs data.turns of 2 or more: the first frame after "
                "the turns left out is no target"
            )

    def _check_sessions(self) -> None:
        pairs = self.sessions.layout == "pairs"
        if pairs != (self.turns == 1):
            raise UserError(
                "data.turns must be 1 with data.sessions.layout 'pairs', and 2 or more "
                f"with 'chain'; got {self.turns} with {self.sessions.layout!r}"
            )
        if self.null_fraction > MOST_NULLS:
            raise UserError(
                f"data.null_fraction must be at most {MOST_NULLS} with data.kind "
                f"'sessions', whose edits are all shown; got {self.null_fraction}"
            )
