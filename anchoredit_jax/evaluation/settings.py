"""What an evaluation runs: contestants, tests, and the sizes of the tests."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from anchoredit_jax.data.buckets import Size
from anchoredit_jax.data.sprites.render import both_sides
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.trees import digest


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One checkpoint under evaluation.

    Attributes:
      label: its name in tables, figures and file names.
      path: where it was read from.
      editor: an `Editor` (run, params, codec, text encoder, mesh).
      sampler: draws frames in all tests but the ambiguous instructions.
      ambiguous_samplers: draw frames of the ambiguous instructions, one after the
        other.
    """

    label: str
    path: str
    editor: Any
    sampler: SamplerConfig
    ambiguous_samplers: tuple[SamplerConfig, ...] = ()

    @functools.cached_property
    def digest(self) -> str:
        """A digest of the parameters, all of which are read for it."""
        return digest(self.editor.params)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an evaluation runs.

    Attributes:
      policies: name -> memory, in the order of the tables; positions are taken from
        the checkpoint's own memory.
      parts: names of `parts.PARTS`; None for all that the data has, see
        `parts.check_parts`.
      dataset: folder of sessions in the validation layout; None for held-out sprites.
      language: which of the dataset's instructions are read.
      shapes: (height, width) of the pictures that sprites are drawn as, equally many
        sessions of each; a picture is edited at the size that the checkpoint's training
        gives it. None: squares of the size that it was trained at.
      sessions, turns: of the main test; None of a dataset: all it has.
      story_sessions: of the scripted cover-and-uncover test.
      ambiguous_sessions, repetitions: of the ambiguous instructions, and how often each
        is drawn, each time with other noise.
      identity_sessions: of the identity loop; as many turns as the main test.
      seed: names the held-out sessions and the noise.
      batch: sessions at a time.
    """

    policies: Mapping[str, MemoryConfig]
    parts: tuple[str, ...] | None = None
    dataset: str | None = None
    language: str = "en"
    shapes: tuple[Size, ...] = ()
    sessions: int | None = 200
    turns: int | None = 12
    story_sessions: int = 100
    ambiguous_sessions: int = 200
    repetitions: int = 2
    identity_sessions: int = 50
    seed: int = 0
    batch: int = 50

    def told(self) -> dict[str, Any]:
        """As plain JSON values."""
        policies = {
            name: {"sink": memory.sink, "window": memory.window}
            for name, memory in self.policies.items()
        }
        return {**dataclasses.asdict(self), "policies": policies}

    def __post_init__(self):
        if self.dataset is not None and self.shapes:
            raise UserError(
                "shapes must be none for a dataset of your own, whose images have "
                f"theirs, got {self.shapes}"
            )
        for shape in self.shapes:
            both_sides(shape)
        for name in ("sessions", "turns"):
            if getattr(self, name) is None and self.dataset is None:
                raise UserError(f"{name} must be given for sprites, got none")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in (int, int | None) and field.name != "seed":
                if value is not None and value < 1:
                    raise UserError(f"{field.name} must be 1 or more, got {value}")
        if self.seed < 0:
            raise UserError(f"seed must be 0 or more, got {self.seed}")
