"""What editing compiles, once for all turns of all sessions of an editor."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from anchoredit_jax import turn
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.parallel import using


class Programs(NamedTuple):
    """Drawing and committing are two programs, so that a saved session, which holds
    latents, gets the memory back by the very same commits, equal in every bit.

    Attributes:
      start: (params, source [B, h, w, C], text [B, S, Dt]) -> memory.
      noise: (seeds uint32 [B], turn numbers uint32 [B], shape (h, w, C)) -> what a
        frame is drawn from: (x [B, h, w, C], noise [draws, B, h, w, C]).
      draw: (params, memory, text [B, S, Dt], x, noise, first, last) -> x after the
        steps first .. last - 1 (int32), after all of them the latents [B, h, w, C].
        The steps may be taken in one call or in several: the bits are the same.
      commit: (params, memory, latents [B, h, w, C], text [B, S, Dt]) -> memory.
    """

    start: Callable
    noise: Callable
    draw: Callable
    commit: Callable


def make_programs(
    model: TransformerConfig,
    memory: MemoryConfig,
    sampler: SamplerConfig,
    null: jax.Array,
    mesh: Mesh,
    max_frames: int | None = None,
) -> Programs:
    """The programs of some settings; parameters are arguments, settings constants.

    Args:
      null: the null instruction [S, Dt].
      max_frames: size of a full history (memory.window None).
      mesh: what the parameters lie on, None for one device.
    """

    def start(params, source, text):
        return turn.start_memory(
            model, params, source, text, null, memory, sampler, max_frames
        )

    def noise(seeds, numbers, shape):
        keys = jax.vmap(lambda seed, number: turn.session_key(seed, 0, number))
        drawn = turn.turn_noise(keys(seeds, numbers), shape, sampler)
        return drawn[0], drawn

    def draw(params, past, text, x, noise, first, last):
        return turn.denoise_steps(
            model, params, past, text, null, x, noise, first, last, sampler
        )

    def commit(params, past, latents, text):
        return turn.commit_frame(model, params, past, latents, text, null, sampler)

    # Every call of `draw` finds x where the first one does.
    whole = NamedSharding(mesh, PartitionSpec())
    return Programs(
        _OnMesh(jax.jit(start), mesh),
        _OnMesh(jax.jit(noise, static_argnums=2, out_shardings=whole), mesh),
        _OnMesh(jax.jit(draw, out_shardings=whole), mesh),
        _OnMesh(jax.jit(commit), mesh),
    )


class _OnMesh:
    """A jitted function that is always called, and lowered, with a mesh in force."""

    def __init__(self, program: Any, mesh: Mesh):
        self._program, self._mesh = program, mesh
        self._cache_size = program._cache_size
        functools.update_wrapper(self, program)

    def __call__(self, *arguments):
        with using(self._mesh):
            return self._program(*arguments)

    def lower(self, *arguments) -> jax.stages.Lowered:
        with using(self._mesh):
            return self._program.lower(*arguments)
