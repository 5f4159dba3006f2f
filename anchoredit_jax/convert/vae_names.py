"""The VAE's name map, as data: original Wan names, diffusers names, and ours.

One table serves all directions. Ours has only what a still image needs: the last
temporal slice of each causal kernel, and no convolutions over time. What is left out is
carried beside the parameters, so that an export is complete.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax

from anchoredit_jax.models.wan_vae import WanVaeConfig, init_params

# (Wan, diffusers, ours, kind). Kinds, as [their shape] <-> [ours]:
#   causal     a convolution [out, in, t, p, q] <-> [p, q, in, out], and its bias
#   conv       a convolution [out, in, p, q] <-> [p, q, in, out], and its bias
#   time       a convolution over time, which a still image never meets, and its bias
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


class Name(NamedTuple):
    """One tensor of the published network.

    Attributes:
      wan, diffusers: its names there.
      ours: path in the tree of parameters ("encoder/conv_in/kernel"); what is not used
        is carried under such a path too.
      kind: see above, and "vector" for what is the same everywhere.
      shape: theirs.
    """

    wan: str
    diffusers: str
    ours: str
    kind: str
    shape: tuple[int, ...]


@functools.cache
def vae_names(config: WanVaeConfig) -> tuple[Name, ...]:
    """Every tensor of the published network, used here or not."""
    init = functools.partial(init_params, config)
    tree = jax.eval_shape(init, jax.random.key(0))
    names = []
    for wan, diffusers, ours, kind in _rows(config):
        if kind.startswith("norm"):
            endings = [("gamma", "scale", kind)]
        else:
            bias = "time" if kind == "time" else "vector"
            endings = [("weight", "kernel", kind), ("bias", "bias", bias)]
        for theirs, leaf, kind in endings:
            path = f"{ours}/{leaf}"
            shape = _their_shape(tree, path, kind)
            names.append(
                Name(f"{wan}.{theirs}", f"{diffusers}.{theirs}", path, kind, shape)
            )
    return tuple(names)


def _rows(config: WanVaeConfig) -> Iterator[tuple[str, str, str, str]]:
    """All rows of all tables, with the prefixes of their places."""
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
    """As `_encoder`; diffusers numbers blocks within a level, which ends with its
    up-sampler where ours begins with it."""
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


def _their_shape(tree: dict, path: str, kind: str) -> tuple[int, ...]:
    """From the shape of ours, or of the convolution beside the one over time."""
    *parents, leaf = path.split("/")
    node = tree
    if kind == "time":
        parents[-1] = "conv"
    for name in parents:
        node = node[name]
    if kind == "time":
        channels = node["kernel"].shape[2]
        # Up-sampling makes two frames of one, in twice the channels.
        out = channels * (2 if parents[0] == "decoder" else 1)
        return (out, channels, 3, 1, 1) if leaf == "kernel" else (out,)
    shape = node[leaf].shape
    if kind in ("causal", "conv"):
        rows, columns, into, out = shape
        time = (rows,) if kind == "causal" else ()
        return (out, into, *time, rows, columns)
    return {"norm": (*shape, 1, 1, 1), "norm_2d": (*shape, 1, 1)}.get(kind, shape)
