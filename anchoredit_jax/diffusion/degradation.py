"""Latent degradation of history: what an editor's own errors look like.

See docs/method.md, Degradation.

Five kinds, in this order: channel colour drift, a low-frequency field, block means,
Laplace multiplicative noise, slight blur; optionally a codec round trip before them.
Pure in the draws it is given; `draw` makes them from per-example keys.
"""

import dataclasses
from collections.abc import Callable
from typing import no_type_check

import einops
import jax
import jax.numpy as jnp
from flax import struct

from anchoredit_jax import randomness
from anchoredit_jax.arrays import Array, Float, Int, Key
from anchoredit_jax.diffusion.timesteps import relative_positions
from anchoredit_jax.strict import Bounded, FieldError, result


@dataclasses.dataclass(frozen=True)
class DegradeConfig(Bounded, place="options.degrade"):
    """Probabilities (per sample and frame) and strengths of each kind.

    Every strength below is multiplied by s, which is drawn for each frame.

    Attributes:
      colour: probability that the channels drift.
      colour_scale, colour_bias: largest change of a channel's scale, as a fraction, and
        of its bias, in latent units.
      low_frequency: probability of a smooth field that is added.
      low_frequency_amplitude: its largest value, in latent units.
      block: probability that squares of latents move half way to their mean.
      block_sizes: sides of these squares, one of which is drawn for each sample.
      laplace: probability of noise that multiplies every latent.
      laplace_scale: scale of the Laplace distribution that it is drawn from.
      blur: probability of a slight blur.
      blur_sigma: its largest standard deviation, in latent pixels.
      lower: least strength s as a fraction, `degrade_lower_frac` of the reference.
      monotonic: strength may grow with the frame's position.
      blur_padding: "edge", or "zero" as in the reference (darkens borders).
      round_trip, round_trip_mix: probability and strongest mix of the codec round trip
        (decoded and encoded again; needs the codec's weights in training).
    """

    colour: float = result(0.0, within="[0, 1]")
    colour_scale: float = result(0.06, within="[0, 1]")
    colour_bias: float = result(0.04, within="[0, 100]")
    low_frequency: float = result(0.0, within="[0, 1]")
    low_frequency_amplitude: float = result(0.08, within="[0, 100]")
    block: float = result(0.0, within="[0, 1]")
    block_sizes: tuple[int, ...] = result((2, 4), within="[1, 1024]")
    laplace: float = result(0.0, within="[0, 1]")
    laplace_scale: float = result(0.05, within="[0, 100]")
    blur: float = result(0.0, within="[0, 1]")
    blur_sigma: float = result(0.6, within="(0, 100]")
    lower: float = result(0.15, within="[0, 1]")
    monotonic: bool = result(True)
    blur_padding: str = result("edge", within=("edge", "zero"))
    round_trip: float = result(0.0, within="[0, 1]")
    round_trip_mix: float = result(0.5, within="[0, 1]")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.block_sizes:
            raise FieldError(self, "block_sizes", "must name a size, or leave it out")

    @property
    def active(self) -> bool:
        """Tell whether any kind can occur."""
        return any(
            (self.colour, self.low_frequency, self.block, self.laplace, self.blur,
             self.round_trip)
        )  # fmt: skip


Latents = Float[Array, "B T h w C"]


@no_type_check  # its leaves may be anything, as those of any pytree
@struct.dataclass
class DegradeDraws:
    """Uniforms in [0, 1) behind one degradation of [B, T, h, w, C].

    `on` [kind, B, T] decides whether a kind happens; the others are its parameters.
    """

    strength: Float[Array, "B T"]
    on: dict[str, Float[Array, "B T"]]  # by kind
    scale: Float[Array, "B T C"]
    bias: Float[Array, "B T C"]
    field: Float[Array, "B T max(2,h//16) max(2,w//16) C"]
    amplitude: Float[Array, "B T"]
    block_index: Int[Array, " B"]
    laplace: Float[Array, "B T h w C"]
    blur_sigma: Float[Array, " B"]  # in latent pixels


KINDS = ("colour", "low_frequency", "block", "laplace", "blur", "round_trip")


def draw(
    keys: Key[Array, " B"], shape: tuple[int, ...], config: DegradeConfig
) -> DegradeDraws:
    """The draws for latents of shape [T, h, w, C], from a key of each sample."""
    frames, height, width, channels = shape
    field = (frames, max(2, height // 16), max(2, width // 16), channels)
    counter = iter(range(100))

    def uniform(*extent: int) -> Float[Array, "..."]:
        index = next(counter)
        folded = jax.vmap(lambda key: jax.random.fold_in(key, index))(keys)
        return randomness.uniforms(folded, extent)

    return DegradeDraws(
        strength=uniform(frames),
        on={kind: uniform(frames) for kind in KINDS},
        scale=uniform(frames, channels),
        bias=uniform(frames, channels),
        field=uniform(*field),
        amplitude=uniform(frames),
        block_index=jnp.int32(uniform() * len(config.block_sizes)),
        laplace=uniform(*shape),
        blur_sigma=0.1 + (config.blur_sigma - 0.1) * uniform(),
    )


def degrade(
    latents: Latents,
    draws: DegradeDraws,
    config: DegradeConfig,
    round_trip: Callable[[Array, Array], Array] | None = None,
) -> Latents:
    """Degrade every frame, also the first and the last.

    Args:
      latents: those of the ground truth.
      draws: what `draw` made for them.
      config: which kinds, how often and how strong.
      round_trip: (latents, chosen bool [B, T]) -> latents, of which chosen frames went
        through the codec. The first frame never is: it is what the user gave.
    """
    position = relative_positions(latents.shape[1], config.monotonic)
    upper = config.lower + (1.0 - config.lower) * position
    strength = config.lower + (upper - config.lower)[None] * draws.strength
    strength = strength[..., None, None, None]

    def apply(kind: str, x: Latents, changed: Callable[[Array], Array]) -> Latents:
        probability = getattr(config, kind)
        if probability == 0.0:
            return x
        on = draws.on[kind][..., None, None, None] < probability
        return jnp.where(on, changed(x), x)

    def colour(x: Latents) -> Latents:
        scale = (2.0 * draws.scale - 1.0)[:, :, None, None] * config.colour_scale
        bias = (2.0 * draws.bias - 1.0)[:, :, None, None] * config.colour_bias
        return x * (1.0 + scale * strength) + bias * strength

    def low_frequency(x: Latents) -> Latents:
        field = jax.image.resize(
            2.0 * draws.field - 1.0,
            (*x.shape[:4], draws.field.shape[-1]),
            "linear",
        )
        amplitude = draws.amplitude[..., None, None, None]
        return x + amplitude * config.low_frequency_amplitude * strength * field

    def block(x: Latents) -> Latents:
        mixed = x
        for index, size in enumerate(config.block_sizes):
            if x.shape[2] % size or x.shape[3] % size:
                continue
            chosen = (draws.block_index == index).reshape(-1, 1, 1, 1, 1)
            mean = _block_mean(x, size)
            mixed = jnp.where(chosen, x + 0.5 * strength * (mean - x), mixed)
        return mixed

    def laplace(x: Latents) -> Latents:
        u = draws.laplace - 0.5
        noise = -jnp.sign(u) * jnp.log1p(-2.0 * jnp.abs(u) + 1e-7)
        return x * (1.0 + config.laplace_scale * strength * noise)

    def blur(x: Latents) -> Latents:
        return x + strength * (_blur(x, draws.blur_sigma, config.blur_padding) - x)

    x = latents
    if config.round_trip:
        if round_trip is None:
            raise ValueError("degradation with a codec round trip needs the codec")
        chosen = (draws.on["round_trip"] < config.round_trip).at[:, 0].set(False)
        x = x + config.round_trip_mix * strength * (round_trip(x, chosen) - x)
    x = apply("colour", x, colour)
    x = apply("low_frequency", x, low_frequency)
    x = apply("block", x, block)
    x = apply("laplace", x, laplace)
    return apply("blur", x, blur)


def _block_mean(x: Latents, size: int) -> Latents:
    blocks = "b t (h p) (w q) c"
    mean = einops.reduce(x, f"{blocks} -> b t h w c", "mean", p=size, q=size)
    return einops.repeat(mean, f"b t h w c -> {blocks}", p=size, q=size)


def _blur(x: Latents, sigma: Float[Array, " B"], padding: str) -> Latents:
    """A Gaussian of 3 x 3 on every channel."""
    side = jnp.exp(-1.0 / (2.0 * sigma**2))
    taps = jnp.stack([side, jnp.ones_like(side), side], -1)
    taps = (taps / taps.sum(-1, keepdims=True)).reshape(-1, 3, 1, 1, 1, 1)
    mode = "edge" if padding == "edge" else "constant"
    for axis in (2, 3):
        widths = [(1, 1) if i == axis else (0, 0) for i in range(5)]
        padded = jnp.pad(x, widths, mode=mode)
        size = x.shape[axis]
        left, middle, right = (
            taps[:, tap] * jax.lax.slice_in_dim(padded, tap, tap + size, axis=axis)
            for tap in range(3)
        )
        x = left + middle + right
    return x
