"""The VAE's name map, as data: original Wan names, diffusers names, and ours.

Ours, the *whole* tree, has every tensor of the published network, so that an export is
complete. The codec of still images takes a part of it, see `still_image`: the last
temporal slice of each causal kernel, and no convolutions over time.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from anchoredit_jax.convert.name_map import SAME, Layout, NameMap, Row
from anchoredit_jax.models.wan_vae import WanVaeConfig, init_params
from anchoredit_jax.trees import leaves_by_name, unflatten

# (Wan, diffusers, ours, kind). Kinds, as [their shape] <-> [ours]:
#   causal     a convolution [out, in, t, p, q] <-> [t, p, q, in, out], and its bias
#   conv       a convolution [out, in, p, q] <-> [p, q, in, out], and its bias
#   time       like causal; a still image never meets it
#   norm       [D, 1, 1, 1] <-> [D], norm_2d [D, 1, 1] <-> [D]
BLOCK = (
    ("residual.0", "norm1", "norm1", "norm"),
    ("residual.2", "conv1", "conv1", "causal"),
    ("residual.3", "norm2", "norm2", "norm"),
    ("residual.6", "conv2", "conv2", "causal"),
)
SHORTCUT = (("shortcut", "conv_shortcut", "shortcut", "causal"),)
ATTENTION = (
    ("norm", "norm", "norm", "norm_2d"),
    ("to_qkv", "to_qkv", "qkv", "conv"),
    ("proj", "proj", "proj", "conv"),
)
RESAMPLE = (("resample.1", "resample.1", "conv", "conv"),)
TIME = (("time_conv", "time_conv", "time_conv", "time"),)
MIDDLE = (
    ("middle.0", "mid_block.resnets.0", "middle/block_0", BLOCK),
    ("middle.1", "mid_block.attentions.0", "middle/attention", ATTENTION),
    ("middle.2", "mid_block.resnets.1", "middle/block_1", BLOCK),
)
ENDS = (
    ("conv1", "conv_in", "conv_in", "causal"),
    ("head.0", "norm_out", "norm_out", "norm"),
    ("head.2", "conv_out", "conv_out", "causal"),
)
OUTER = (
    ("conv1", "quant_conv", "encoder/quant_conv", "causal"),
    ("conv2", "post_quant_conv", "decoder/post_quant_conv", "causal"),
)


_CAUSAL = Layout(
    lambda kernel: kernel.transpose(2, 3, 4, 1, 0),
    lambda kernel: kernel.transpose(4, 3, 0, 1, 2),
)
LAYOUTS = {
    "same": SAME,
    "causal": _CAUSAL,
    "time": _CAUSAL,
    "conv": Layout(
        lambda kernel: kernel.transpose(2, 3, 1, 0),
        lambda kernel: kernel.transpose(3, 2, 0, 1),
    ),
    "norm": Layout(np.ravel, lambda scale: scale[:, None, None, None]),
    "norm_2d": Layout(np.ravel, lambda scale: scale[:, None, None]),
}


@functools.cache
def name_map(config: WanVaeConfig) -> NameMap:
    """The table of a VAE with these levels and blocks."""
    rows = []
    for wan, diffusers, ours, kind in _rows(config):
        if kind.startswith("norm"):
            rows.append(
                Row(f"{ours}/scale", (f"{wan}.gamma", f"{diffusers}.gamma"), kind)
            )
            continue
        for theirs, leaf, layout in (
            ("weight", "kernel", kind),
            ("bias", "bias", "same"),
        ):
            names = (f"{wan}.{theirs}", f"{diffusers}.{theirs}")
            rows.append(Row(f"{ours}/{leaf}", names, layout))
    return NameMap("a Wan 2.1 VAE", tuple(rows), LAYOUTS)


def whole_shapes(config: WanVaeConfig) -> dict[str, Any]:
    """Our whole tree as shapes, float32."""
    tree = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    flat = {path: leaf.shape for path, leaf in leaves_by_name(tree).items()}
    for row in name_map(config).rows:
        if row.layout == "causal":
            shape = flat[row.ours]
            flat[row.ours] = (shape[0], *shape)  # as long in time as it is high
        if row.layout == "time":
            channels = flat[row.ours.replace("time_conv", "conv")][2]
            # Up-sampling makes two frames of one, in twice the channels.
            out = channels * (2 if row.ours.startswith("decoder") else 1)
            flat[row.ours] = (3, 1, 1, channels, out)
            flat[row.ours.replace("kernel", "bias")] = (out,)
    return unflatten(
        {path: jax.ShapeDtypeStruct(shape, np.float32) for path, shape in flat.items()}
    )


def still_image(whole: Mapping, config: WanVaeConfig) -> dict[str, Any]:
    """What `WanCodec` takes: the parameters that a single image meets, float32."""
    flat = leaves_by_name(whole)
    used = {}
    for row in name_map(config).rows:
        if "/time_conv/" in row.ours:
            continue
        leaf = flat[row.ours]
        leaf = leaf[-1] if row.layout == "causal" else leaf
        used[row.ours] = np.array(leaf, np.float32, order="C")
    return unflatten(used)


def _rows(config: WanVaeConfig) -> Iterator[tuple[str, str, str, str]]:
    """Yield all rows of all tables, with the prefixes of their places."""
    yield from OUTER
    for side, levels in (("encoder", _encoder), ("decoder", _decoder)):
        for wan, diffusers, ours, kind in ENDS:
            yield f"{side}.{wan}", f"{side}.{diffusers}", f"{side}/{ours}", kind
        for part in (*MIDDLE, *levels(config)):
            wan, diffusers, ours = (
                f"{side}.{part[0]}", f"{side}.{part[1]}", f"{side}/{part[2]}"
            )  # fmt: skip
            for row in part[3]:
                yield (
                    f"{wan}.{row[0]}",
                    f"{diffusers}.{row[1]}",
                    f"{ours}/{row[2]}",
                    row[3],
                )


def _encoder(config: WanVaeConfig) -> Iterator[tuple[str, str, str, tuple]]:
    """(Wan, diffusers, ours, table) of each block; both number blocks throughout."""
    index, before = 0, config.dim
    for level, width in enumerate(config.widths):
        for block in range(config.blocks):
            table = BLOCK + (SHORTCUT if before != width else ())
            theirs = f"downsamples.{index}", f"down_blocks.{index}"
            yield *theirs, f"down_{level}/block_{block}", table
            index, before = index + 1, width
        if level < len(config.temporal):
            table = RESAMPLE + (TIME if config.temporal[level] else ())
            theirs = f"downsamples.{index}", f"down_blocks.{index}"
            yield *theirs, f"downsample_{level}", table
            index += 1


def _decoder(config: WanVaeConfig) -> Iterator[tuple[str, str, str, tuple]]:
    """The decoder's blocks, as `_encoder` gives the encoder's.

    In diffusers blocks are numbered within a level, which ends with its up-sampler
    where ours begins with it.
    """
    index, before = 0, config.widths[-1]
    for level, width in enumerate(config.widths[::-1]):
        for block in range(config.blocks + 1):
            table = BLOCK + (SHORTCUT if before != width else ())
            theirs = f"upsamples.{index}", f"up_blocks.{level}.resnets.{block}"
            yield *theirs, f"up_{level}/block_{block}", table
            index, before = index + 1, width
        if level < len(config.temporal):
            table = RESAMPLE + (TIME if config.temporal[-1 - level] else ())
            theirs = f"upsamples.{index}", f"up_blocks.{level}.upsamplers.0"
            yield *theirs, f"upsample_{level}", table
            index, before = index + 1, width // 2
