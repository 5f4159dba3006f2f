"""Frame-level self-attention on a TPU in which frames that are not seen cost nothing.

The kernel is splash attention, forward and backward, as it comes with jax 0.10
(`jax.experimental.pallas.ops.tpu.splash_attention`). It works through a table of
blocks, made on the host from a mask that is known when the program is traced: blocks in
which nothing is seen are neither loaded nor multiplied. Here a block never holds tokens
of two frames, because each frame is padded to whole blocks. So a frame that is not seen
is only blocks that are left out, and all blocks with padding share one small mask.

Letters: B batch, T query frames, F key frames, L tokens a frame, N heads, H head dim.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as kernels,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_mask as masks,
)

LANES = 128  # the kernel takes blocks that are multiples of it


class Blocks(NamedTuple):
    """Tokens of the largest blocks: of queries, of keys, and of keys worked at once."""

    query: int
    key: int
    compute: int


_SMALL, _LARGE = Blocks(512, 512, 512), Blocks(1024, 1024, 1024)
# By chip generation, for values of two bytes. No speed is measured: of a few sizes
# these are the largest that the compiler fits into vector memory, with padding, with
# `valid` and at head dim 128.
BLOCKS = {
    "default": _SMALL,  # fits every generation below, float32 too
    "v4": _SMALL,  # 16 MiB of vector memory: 1024 queries miss it by 0.5 MiB
    "v5e": _LARGE,  # 2048 queries and keys are too many
    "v5p": _LARGE,  # 2048 queries and keys are too many
    "v6e": _LARGE,  # 2048 fit, but compile for twice as long and pad frames more
    "tpu7x": _LARGE,  # as v6e
}
# What devices call themselves.
_CHIPS = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "TPU7x": "tpu7x",
}


def splash_frame_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    seen: np.ndarray,
    valid: jax.Array | None = None,
    *,
    chip: str | None = None,
    interpret: bool = False,
) -> jax.Array:
    """Attention of T frames to F frames under a rule between frames.

    What is hidden from a sample by `valid` is masked, at full cost. A traced rule that
    differs between query frames (`FrameVisibility.sample_table`) cannot be given at
    all: the kernel's traced masks compare a number of the query token with a number of
    the key token. Callers that have such a rule use another backend.

    Products are taken in the dtype of `value` and summed in float32; the softmax is
    float32. The derivative is first-order and reverse-mode only. The compiler cannot
    partition the kernel: on several devices call this inside
    `jax.shard_map(..., check_vma=False)`, with batch or heads split.

    Args:
      query: [B, T, L, N, H].
      key, value: [B, F, L, N, H].
      seen: static bool [T, F], rows are queries.
      valid: bool [B, F], the key frames that a sample has, or None for all. Each query
        frame must see one of them: else its output and gradients mean nothing.
      chip: a key of `BLOCKS`; None looks at the first device (so name it to compile
        for another machine).
      interpret: run the kernel step by step on any device (slow: for tests).

    Returns:
      [B, T, L, N, H] in the dtype of `value`.

    Raises:
      ValueError: `seen` is not [T, F], or lets a query frame see nothing.
    """
    batch, frames, tokens, heads, head_dim = query.shape
    seen = np.asarray(seen, bool)
    if seen.shape != (frames, key.shape[1]):
        raise ValueError(
            f"seen must be [T, F] = {(frames, key.shape[1])}, got {seen.shape}"
        )
    if not seen.any(1).all():
        raise ValueError(
            f"query frames {np.flatnonzero(~seen.any(1)).tolist()} see no frame: a "
            "softmax over nothing is not defined; let each see at least one"
        )
    wide = value.dtype.itemsize > 2  # a chip's own sizes may not fit
    padded, sizes = block_sizes(tokens, BLOCKS["default" if wide else chip or _chip()])
    kernel = _kernel(FrameMask(seen, tokens, padded), heads, sizes, interpret)
    # The kernel takes logits as they come, so their scale is in the query.
    query = query.astype(jnp.float32) * jnp.float32(head_dim**-0.5)
    query, key, value = (
        _heads_first(x.astype(value.dtype), padded) for x in (query, key, value)
    )
    segments = None
    if valid is not None:
        other = jnp.repeat(jnp.where(valid, 0, 1).astype(jnp.int32), padded, 1)
        same = jnp.zeros((batch, frames * padded), jnp.int32)
        segments = kernels.SegmentIds(same, other)
    out = jax.vmap(kernel)(query, key, value, segments)
    out = out.reshape(batch, heads, frames, padded, head_dim)
    return out[:, :, :, :tokens].transpose(0, 2, 3, 1, 4)


class FrameMask(masks.Mask):
    """A rule between frames as a mask of tokens, of which only slices are ever made.

    Rows are T frames of `padded` tokens, columns are F such frames. Padding is hidden
    as a key; as a query it sees what its frame sees, which keeps its softmax finite.

    Attributes:
      seen: bool [T, F].
      tokens: of a frame, without padding.
      padded: of a frame, with padding.
    """

    def __init__(self, seen: np.ndarray, tokens: int, padded: int | None = None):
        self.seen, self.tokens = np.array(seen, bool), tokens  # a copy: it is hashed
        self.padded = tokens if padded is None else padded

    @property
    def shape(self) -> tuple[int, int]:
        frames, others = self.seen.shape
        return frames * self.padded, others * self.padded

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        rows, columns = (
            range(size)[part] for size, part in zip(self.shape, index, strict=True)
        )
        chunk = np.zeros((len(rows), len(columns)), bool)
        for frame, of_frame in self._parts(rows, self.padded):
            for other, of_other in self._parts(columns, self.tokens):
                chunk[of_frame, of_other] = self.seen[frame, other]
        return chunk

    def _parts(self, places, length):
        """Each frame that `places` touch, and where its first tokens are in them."""
        if not places:
            return
        for frame in range(places[0] // self.padded, places[-1] // self.padded + 1):
            first = frame * self.padded - places[0]
            yield frame, slice(max(first, 0), max(first + length, 0))

    def _identity(self):
        return self.seen.shape, self.seen.tobytes(), self.tokens, self.padded

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FrameMask):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


def block_sizes(tokens: int, most: Blocks) -> tuple[int, kernels.BlockSizes]:
    """The length that a frame is padded to, and blocks that divide it.

    Large blocks want padding, small ones are slow: the choice is the least area of
    blocks, each counted `LANES` longer and wider than it is (an estimate).

    Args:
      tokens: of a frame.
      most: the largest blocks allowed, multiples of `LANES`.
    """

    def cost(padded):
        query, compute = _divisor(padded, most.query), _divisor(padded, most.compute)
        return padded**2 * (1 + LANES / query) * (1 + LANES / compute)

    least = -(-tokens // LANES) * LANES
    padded = min(range(least, least + max(most), LANES), key=cost)
    query, compute = _divisor(padded, most.query), _divisor(padded, most.compute)
    key = _divisor(padded, most.key, compute)
    # One backward kernel for all gradients would keep a gradient to the queries for
    # each block of keys; two kernels compute the logits once more instead.
    return padded, kernels.BlockSizes(
        block_q=query,
        block_kv=key,
        block_kv_compute=compute,
        block_q_dkv=query,
        block_kv_dkv=key,
        block_kv_dkv_compute=compute,
        block_q_dq=query,
        block_kv_dq=compute,  # this kernel works its keys all at once
        use_fused_bwd_kernel=False,
    )


def _divisor(length, limit, step=LANES):
    """The largest multiple of `step` that divides a length and is within a limit."""
    sizes = range(step, min(length, limit) + 1, step)
    return max(size for size in sizes if length % size == 0)


@functools.lru_cache(maxsize=64)
def _kernel(mask, heads, sizes, interpret):
    """The kernel of a mask, its tables on the host: cached, so never traced values."""
    with jax.ensure_compile_time_eval():
        kernel = kernels.make_splash_mha_single_device(
            masks.MultiHeadMask([mask] * heads), block_sizes=sizes, interpret=interpret
        )
        return jax.tree.map(np.asarray, kernel)


def _chip():
    return _CHIPS.get(jax.devices()[0].device_kind, "default")


def _heads_first(x, padded):
    """[B, T, L, N, H] -> [B, N, T * padded, H]."""
    batch, frames, tokens, heads, head_dim = x.shape
    x = jnp.pad(x, ((0, 0), (0, 0), (0, padded - tokens), (0, 0), (0, 0)))
    return x.transpose(0, 3, 1, 2, 4).reshape(batch, heads, frames * padded, head_dim)
