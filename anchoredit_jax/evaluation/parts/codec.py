"""What coding an image costs, by the precision of the encoder and of the decoder.

A session encodes once, in float32, whatever `codec.dtype` says: that is the decoder's.
An error of encoding enters the memory and every later turn starts from it, whereas an
error of decoding is seen once and forgotten. Here both are measured, encoding in
bfloat16 included, which nothing else in the package can do.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from anchoredit_jax.data.pixel_error import check_images, psnr, squared_error
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.cases import Case
from anchoredit_jax.evaluation.measures import ssim
from anchoredit_jax.evaluation.parts.sessions import session_cases
from anchoredit_jax.evaluation.runs import Job, Part
from anchoredit_jax.evaluation.summary import bootstrap_mean
from anchoredit_jax.evaluation.table import Table, show, text_table
from anchoredit_jax.models.codec import Codec, PatchCodec, decode_pixels, from_uint8
from anchoredit_jax.models.wan_vae import WanCodec, encode

IMAGES = 8
DTYPES = ("float32", "bfloat16")
Coder = Callable[[np.ndarray], np.ndarray]  # one image to its latents, or back


@dataclasses.dataclass(frozen=True, eq=False)
class RoundTrip:
    """Images through the codec and back, float64 [n] each.

    Attributes:
      encode_dtype, decode_dtype: "float32" or "bfloat16".
      psnr: dB, of the decoded to the source images, at most `statistics.MAX_PSNR`.
      ssim: of the same.
      latent_error: root mean square difference of the normalised latents, which have
        unit variance, to those of encoding in float32; 0 for the latter.
    """

    encode_dtype: str
    decode_dtype: str
    psnr: np.ndarray
    ssim: np.ndarray
    latent_error: np.ndarray


def codec_error(codec: Codec, images: Sequence[np.ndarray]) -> tuple[RoundTrip, ...]:
    """The error of a round trip for both precisions of encoding times both of decoding.

    float32 encoding is the codec's own, the one that sessions use.

    Args:
      codec: a patch codec or a Wan VAE; its own `dtype` does not matter.
      images: n of uint8 [H, W, 3], sides multiples of the codec's stride; a size of
        its own costs a compilation of its own.

    Returns:
      four round trips: encoding in float32 first, then in bfloat16; of each decoding in
      float32, then in bfloat16.

    Raises:
      UserError: no such images, a codec of another kind, or one whose results are not
        finite.
    """
    if len(images) == 0:
        raise UserError("no image to measure the codec with; give at least one")
    for image in images:
        check_images(np.asarray(image)[None], "images to code")
    encoders, decoders = _coders(codec)
    exact = [encoders["float32"](from_uint8(image)) for image in images]
    trips = []
    for encode_dtype in DTYPES:
        latents = exact
        if encode_dtype != "float32":
            latents = [encoders[encode_dtype](from_uint8(image)) for image in images]
        errors = [_rms(a - b) for a, b in zip(latents, exact, strict=True)]
        for decode_dtype in DTYPES:
            decoded = [decode_pixels(decoders[decode_dtype], one) for one in latents]
            trips.append(
                RoundTrip(
                    encode_dtype,
                    decode_dtype,
                    *_scores(images, decoded),
                    np.array(errors),
                )
            )
    return tuple(trips)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values), dtype=np.float64)))


def _scores(images, decoded) -> tuple[np.ndarray, np.ndarray]:
    pairs = list(zip(images, decoded, strict=True))
    errors = np.array([squared_error(a, b).mean(dtype=np.float64) for a, b in pairs])
    return psnr(errors), np.array([ssim(a, b) for a, b in pairs])


def _coders(codec: Codec) -> tuple[dict[str, Coder], dict[str, Coder]]:
    """Encoders and decoders by dtype; float32 [..., 3] in and out at either end."""
    if isinstance(codec, PatchCodec):
        return (
            {"float32": codec.encode, "bfloat16": _rounded_input(codec.encode)},
            {"float32": codec.decode, "bfloat16": _rounded_input(codec.decode)},
        )
    if isinstance(codec, WanCodec):
        return (
            {"float32": codec.encode, "bfloat16": _bfloat16_encoder(codec)},
            {dtype: _decoder(codec, dtype) for dtype in DTYPES},
        )
    raise UserError(
        "the codec to measure must be a PatchCodec or a WanCodec, got a "
        f"{type(codec).__name__}"
    )


def _rounded_input(function: Callable) -> Coder:
    """A function of jax arrays computed in bfloat16 throughout."""

    def rounded(x):
        out = function(jnp.asarray(x, jnp.bfloat16))
        return np.asarray(out.astype(jnp.float32))

    return rounded


def _decoder(codec: WanCodec, dtype: str) -> Coder:
    config = dataclasses.replace(codec.config, dtype=dtype)
    return WanCodec(codec.params, config, codec.tile).decode


def _bfloat16_encoder(codec: WanCodec) -> Coder:
    """The Wan encoder as bfloat16 hardware computes it.

    Parameters, the input and the output of every layer are rounded to bfloat16;
    products add up in float32, as in a matrix unit.
    """
    params = jax.jit(lambda tree: jax.tree.map(round_values, tree))(codec.params)

    @jax.jit
    def run(params, images):
        with nn.intercept_methods(round_layers):
            return encode(params, images, codec.config, codec.tile)

    return lambda image: np.asarray(run(params, image[None])[0])


def round_layers(layer, args, kwargs, context):
    """A Flax interceptor: every layer sees and gives bfloat16 values."""
    rounded = jax.tree.map(round_values, args)
    return jax.tree.map(round_values, layer(*rounded, **kwargs))


def round_values(x: jax.Array) -> jax.Array:
    # Not a cast there and back, which XLA may leave out.
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)


def _run(job: Job, cases: Sequence[Case]) -> tuple[RoundTrip, ...]:
    return codec_error(job.contestant.editor.codec, [case.source for case in cases])


def _numbers(trips: Sequence[RoundTrip]) -> list[dict]:
    """By the precision of encoding and of decoding; sessions encode in float32 always,
    the other lines show why."""
    return [
        {
            "encode": trip.encode_dtype,
            "decode": trip.decode_dtype,
            **{
                name: bootstrap_mean(getattr(trip, name))
                for name in ("psnr", "ssim", "latent_error")
            },
        }
        for trip in trips
    ]


def _blocks(table: Table, checkpoint: str) -> list[str]:
    rows = table.where(part=PART.name, checkpoint=checkpoint)
    lines = [(name, rows.where(run=name)) for name in rows.names("run")]
    columns = {
        "PSNR": show("psnr", 1),
        "SSIM": show("ssim", 4),
        "latents off by": show("latent_error", 5),
    }
    return [text_table("codec alone: encoding in, decoding in", lines, columns)]


PART = Part(
    name="codec",
    title="The codec alone",
    cases=lambda settings, editor: session_cases(settings, editor, IMAGES),
    run=_run,
    numbers=_numbers,
    blocks=_blocks,
    of_dataset=True,
)
