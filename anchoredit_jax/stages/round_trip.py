"""Histories through the codec: what decoding and encoding again does to latents.

An editor that takes its own output for its next source loses this every turn. The codec
runs inside of the training step, for the frames that are chosen and no others.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import PartitionSpec

from anchoredit_jax.errors import UserError
from anchoredit_jax.models import wan_vae
from anchoredit_jax.models.codec import Codec


class RoundTrip:
    """Decoding and encoding with a codec, its weights being an argument.

    Attributes:
      params: the codec's weights, () where it has none.
    """

    def __init__(self, codec: Codec):
        self.params = getattr(codec, "params", ())
        self._codec = codec

    def __call__(self, params: Any, latents: jax.Array, chosen: jax.Array) -> jax.Array:
        """Chosen frames decoded and encoded again, the others as they are.

        On a mesh every device codes chosen frames of its own rows.

        Args:
          params: like `self.params`, traced.
          latents: [B, T, h, w, C].
          chosen: bool [B, T].
        """
        mesh = jax.sharding.get_abstract_mesh()
        code = functools.partial(_code_chosen, self._one)
        if not mesh.empty and mesh.size > 1:
            rows = PartitionSpec(*nn.logical_to_mesh_axes(("batch",)) or ())
            code = jax.shard_map(
                code,
                in_specs=(PartitionSpec(), rows, rows),
                out_specs=rows,
                check_vma=False,  # the codec's loops do not say what varies
            )
        return code(params, latents, chosen)

    def _one(self, params: Any, latents: jax.Array) -> jax.Array:
        """Decode one frame [h, w, C] and encode it again."""
        codec: Any = self._codec
        if not hasattr(codec, "params"):
            return codec.encode(codec.decode(latents))
        images = wan_vae.decode(params, latents[None], codec.config, codec.tile)
        images = images.clip(-1.0, 1.0)
        return wan_vae.encode(params, images, codec.config, codec.tile)[0]


def _code_chosen(
    one: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    latents: jax.Array,
    chosen: jax.Array,
) -> jax.Array:
    """Code one frame after the other, since only a loop's body may leave work out."""
    flat = latents.reshape(-1, *latents.shape[2:])

    def code(frame: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jax.lax.cond(
            frame[1], functools.partial(one, params), lambda x: x, frame[0]
        )

    return jax.lax.map(code, (flat, chosen.reshape(-1))).reshape(latents.shape)


def needs_codec(options: Any) -> bool:
    """Tell whether a stage with these options asks for the run's codec."""
    degrade = getattr(options, "degrade", None)
    return degrade is not None and degrade.round_trip > 0


def make_round_trip(options: Any, codec: Codec | None) -> RoundTrip | None:
    """The round trip that a stage's options ask for, or None.

    Raises:
      UserError: it is asked for, and there is no codec.
    """
    if not needs_codec(options):
        return None
    if codec is None:
        raise UserError(
            "options.degrade.round_trip needs the codec and its weights, and there is "
            "none at hand (a plan compiles without weights): set "
            "options.degrade.round_trip=0 here"
        )
    return RoundTrip(codec)
