"""A model that can edit: weights, codec, text encoder, settings, compiled programs."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from anchoredit_jax.checkpoint import assets
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.data.buckets import Size
from anchoredit_jax.diffusion.samplers import SamplerConfig, check_negative
from anchoredit_jax.encoders import make_codec, make_text_encoder
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models.codec import Codec
from anchoredit_jax.models.text import TextEncoder, check_length
from anchoredit_jax.parallel import MeshConfig, make_mesh, state_shardings
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.session.overrides import (
    naming_flag,
    override_run,
    override_sampler,
)
from anchoredit_jax.session.programs import Programs, make_programs
from anchoredit_jax.session.shapes import AUTO, AskedSize, check_asked, editing_size
from anchoredit_jax.trees import cast_copy, check_dtype

MOST_TURNS = 1024  # of a session that keeps its full history
MOST_PROGRAMS = 8  # settings whose compiled programs wait for the next who asks
SHIPPED = Path(__file__).parents[1] / "assets"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LoadedModel:
    """Everything that sessions share. `Editor` can start them, too.

    Attributes:
      params: the transformer's parameters.
      run: the configuration that they were trained with.
      codec, text: image codec and text encoder.
      memory, sampler: what a session remembers, and how a frame is drawn.
      lineage: where the weights come from, None if unknown.
      checkpoint: path that was loaded, None for the shipped weights.
      weights: which of the checkpoint's weights, "ema" or "params".
      max_turns: longest session; needed, and used, with a full history only.
      mesh: that the parameters lie on; one device is a mesh of one.
      size: that images are edited at, where `start` is not given one; see
        `shapes.editing_size`.

    Raises:
      UserError: parts or settings that do not fit each other.
    """

    params: Any
    run: RunConfig
    codec: Codec
    text: TextEncoder
    memory: MemoryConfig
    sampler: SamplerConfig
    lineage: Lineage | None = None
    checkpoint: str | None = None
    weights: str = "ema"
    max_turns: int | None = None
    mesh: Mesh = dataclasses.field(default_factory=make_mesh)
    size: AskedSize = None
    # By settings; shared with the editors that `with_settings` gives.
    _programs: dict[Any, Programs] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self):
        model = self.run.model
        for what, ours, theirs in (
            ("latent channels", self.codec.channels, model.channels),
            ("text embedding width", self.text.dim, model.text_dim),
        ):
            if ours != theirs:
                raise UserError(f"{what}: {ours} are made, the model expects {theirs}")
        for asked in (self.side, self.size):
            check_asked(self.run, asked)
        check_negative(self.sampler)
        check_length(self.sampler.negative)
        if self.max_turns is not None and not 1 <= self.max_turns <= MOST_TURNS:
            raise UserError(
                f"a session that keeps its full history has 1 to {MOST_TURNS} turns, "
                f"given max_turns {self.max_turns}"
            )

    def __repr__(self) -> str:
        path = "the shipped weights" if self.checkpoint is None else self.checkpoint
        made = "" if self.lineage is None else f" ({self.lineage.stage})"
        count = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        return (
            f"<{type(self).__name__} of {path}{made}: {count:,} parameters, "
            f"{self.side} pixels, {self.memory.describe()}, {self.steps} steps a turn>"
        )

    @property
    def side(self) -> int:
        """The side of the square that the weights were trained at, in pixels.

        Images of other shapes had its area.
        """
        return self.run.data.size

    def size_of(self, image: Size, size: AskedSize = None) -> Size:
        """The (height, width) that an image of (height, width) is edited at.

        Args:
          size: see `shapes.editing_size`; None: the editor's own.

        Raises:
          UserError: a size that cannot be, with the nearest that can.
        """
        asked = self.size if size is None else size
        return editing_size(self.run, image, asked, trained=self._is_trained)

    @property
    def _is_trained(self) -> bool:
        """Tell whether `run` made the weights; else they are somebody else's."""
        return self.lineage is None or self.lineage.step > 0

    @property
    def steps(self) -> int:
        """Denoising steps of a turn."""
        return len(self.sampler.schedule[0])

    @functools.cached_property
    def programs(self) -> Programs:
        """The compiled programs; parameters are arguments, settings are constants."""
        settings = (self.memory, self.sampler, self.max_turns)
        made = self._programs.pop(settings, None)
        if made is None:
            while len(self._programs) >= MOST_PROGRAMS:  # the longest unasked for
                del self._programs[next(iter(self._programs))]
            made = make_programs(
                self.run.model,
                self.memory,
                self.sampler,
                jnp.asarray(self.text.encode([self.sampler.negative])[0]),
                self.mesh,
                None if self.max_turns is None else self.max_turns + 1,
            )
        self._programs[settings] = made
        return made

    @classmethod
    def load(
        cls,
        path: str | os.PathLike | None = None,
        weights: str = "ema",
        memory: MemoryConfig | None = None,
        sampler: SamplerConfig | None = None,
        max_turns: int | None = None,
        mesh: MeshConfig | None = None,
        params_dtype: str | None = None,
        *,
        vae: str | os.PathLike | None = None,
        text: str | os.PathLike | None = None,
        size: AskedSize = None,
        shift: float | None = None,
        attention: str | None = None,
        negative: str | None = None,
    ) -> Self:
        """A model from trained weights.

        Args:
          path: a weights file or folder, a stage's folder, a checkpoints folder or one
            step's folder; None: the toy weights that come with the package.
          weights: "ema" or "params".
          memory, sampler: settings; None: those that the weights were trained for.
          max_turns: longest session, for a full history (`memory.window` None) only.
          mesh: spreads the parameters, and with them all work, over several devices.
          params_dtype: that the parameters are kept in, "bfloat16" for large models
            whose products are bfloat16 anyway; None: as they were stored.
          vae: weights of the Wan VAE, text: folder of UMT5; None: where they were when
            the weights were stored.
          size: that images are edited at, see `Editor.start`.
          shift: of the sampler's schedule, instead of its timesteps.
          attention: kernel; None: the stored one, or another where this machine lacks
            it.
          negative: the text that guidance leads away from.

        Raises:
          UserError: nothing to load at `path`, its VAE or text encoder is not there any
            more, weights that are not finite, or settings that do not fit.
        """
        given, path = path, SHIPPED if path is None else path
        # All that may lack or be wrong comes before the weights, which take minutes.
        run = override_run(
            assets.stored_run(path), vae=vae, text=text, attention=attention
        )
        if params_dtype is not None:
            check_dtype("params_dtype", params_dtype)
        memory = run.memory if memory is None else memory
        sampler = override_sampler(
            sampler or run.sampler, shift=shift, negative=negative
        )
        if size is None and given is not None and assets.has_assumed_settings(path):
            size = AUTO  # nobody knows the shapes that these were trained on
        with naming_flag("VAE", "vae"):
            codec = make_codec(run.codec)
        with naming_flag("text encoder", "text"):
            text_encoder = make_text_encoder(run.text)
        devices = make_mesh(MeshConfig() if mesh is None else mesh)
        places = functools.partial(state_shardings, mesh=devices)
        loaded = assets.load_weights(path, weights, places)
        params = loaded.params
        if params_dtype is not None:
            params = cast_copy(params, params_dtype)
        params = jax.device_put(params, places(params))
        return cls(
            params=params,
            run=run,
            codec=codec,
            text=text_encoder,
            memory=memory,
            sampler=sampler,
            lineage=loaded.lineage,
            checkpoint=None if given is None else os.path.abspath(given),
            weights=weights,
            max_turns=max_turns if memory.window is None else None,
            mesh=devices,
            size=size,
        )

    def with_settings(
        self,
        memory: MemoryConfig | None = None,
        sampler: SamplerConfig | None = None,
        max_turns: int | None = None,
        size: AskedSize = None,
    ) -> Self:
        """The same weights with other settings, for sessions that need their own:

            short = dataclasses.replace(editor.sampler, steps=2, timesteps=None)
            session = editor.with_settings(sampler=short).start("cat.png")

        None keeps what is there. Where nothing changes this is the very editor, and
        the last settings that were asked for have their compiled programs already.
        """
        memory = self.memory if memory is None else memory
        sampler = self.sampler if sampler is None else sampler
        max_turns = self.max_turns if max_turns is None else max_turns
        if memory.window is not None:
            max_turns = None
        size = self.size if size is None else size
        given = dict(memory=memory, sampler=sampler, max_turns=max_turns, size=size)
        if all(getattr(self, name) == value for name, value in given.items()):
            return self
        other = dataclasses.replace(self, **given)
        object.__setattr__(other, "_programs", self._programs)
        return other
