"""Frame-level self-attention on a TPU in which frames that are not seen cost nothing.

The kernel is splash attention, forward and backward, as it comes with jax 0.10
(`jax.experimental.pallas.ops.tpu.splash_attention`). It works through a table of
blocks, made on the host from a mask that is known when the program is traced: blocks in
which nothing is seen are neither loaded nor multiplied. Here a block never holds tokens
of two frames, because each frame is padded to whole blocks. So a frame that is not seen
is only blocks that are left out, and all blocks with padding share one small mask.

The table is an operand of the kernel. So samples may choose among a few rules: each
takes its rule's table, and one kernel works the blocks of whichever was chosen.

Letters: B batch, T query frames, F key frames, L and M tokens of a frame of queries and
of keys, S text tokens, N heads, H head dim.
"""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import einops
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as kernels,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_mask as masks,
)

from anchoredit_jax.arrays import Array, Bool, Float, Int
from anchoredit_jax.parallel.chips import chip_of, device_at_hand

Kernel = Any  # kernels.SplashAttentionKernel, whose own types are too wide
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
# The kernel's results have this name: a policy of `jax.checkpoint` may keep them.
SAVED = "attention"


def splash_frame_attention(
    query: Float[Array, "B T L N H"],
    key: Float[Array, "B F M N H"],
    value: Float[Array, "B F M N H"],
    seen: np.ndarray,
    valid: Bool[Array, "B F"] | Bool[Array, "B F M"] | None = None,
    choice: Int[Array, " B"] | None = None,
    *,
    chip: str | None = None,
    interpret: bool = False,
) -> Float[Array, "B T L N H"]:
    """Attention of T frames to F frames under a rule between frames.

    What is hidden from a sample by `valid` is masked, at full cost; what is hidden by
    the rule it chose is not worked. Samples that choose go one after the other.

    Products are taken in the dtype of `value` and summed in float32; the softmax is
    float32. The derivative is first-order and reverse-mode only (`attention` has its
    tangents). The compiler cannot partition the kernel: `mesh_attention` does.

    Args:
      query: of T frames.
      key, value: of F frames.
      seen: static bool [T, F], rows are queries; or [C, T, F], rules to choose from.
      valid: the key frames that a sample has, or their tokens, or None for all. Each
        query frame must see one: else its output and gradients mean nothing.
      choice: each sample's rule; None where `seen` is one.
      chip: a key of `BLOCKS`; None looks at the first device (so name it to compile
        for another machine).
      interpret: run the kernel step by step on any device (slow: for tests).

    Returns:
      [B, T, L, N, H] in the dtype of `value`.

    Raises:
      ValueError: `seen` is not [T, F] (with `choice`: [C, T, F]), or lets a query frame
        see nothing.
    """
    batch, frames, tokens, heads, head_dim = query.shape
    seen = np.asarray(seen, bool)
    rules = seen[None] if choice is None else seen
    if rules.shape[1:] != (frames, key.shape[1]):
        raise ValueError(
            f"seen must be [T, F] = {(frames, key.shape[1])}, got {seen.shape}"
        )
    blind = ~rules.any(2).all(0)
    if blind.any():
        raise ValueError(
            f"query frames {np.flatnonzero(blind).tolist()} see no frame: a "
            "softmax over nothing is not defined; let each see at least one"
        )
    wide = value.dtype.itemsize > 2  # a chip's own sizes may not fit
    most = BLOCKS["default" if wide else chip or _chip()]
    of_query, of_key, sizes = block_sizes(tokens, key.shape[2], most)
    masks_of_rules = tuple(
        FrameMask(rule, of_query, key.shape[2], of_key) for rule in rules
    )
    # The kernel takes logits as they come, so their scale is in the query.
    query = query.astype(jnp.float32) * jnp.float32(head_dim**-0.5)
    query = _heads_first(query.astype(value.dtype), of_query)
    key, value = (_heads_first(x.astype(value.dtype), of_key) for x in (key, value))
    segments = None
    if valid is not None:
        other = _hidden(valid, of_key)
        same = jnp.zeros((batch, frames * of_query), jnp.int32)
        segments = kernels.SegmentIds(same, other)
    samples = (query, key, value, segments)
    if choice is None:
        kernel = _kernel(masks_of_rules[0], heads, sizes, interpret)
        out = jax.vmap(kernel)(*samples)
    else:
        kernel = _kernel_of_choices(masks_of_rules, heads, sizes, interpret)
        # Chosen before the loop: its backward pass has no tables to keep.
        tables = jax.tree.map(
            lambda table: jnp.take(table, choice, axis=0, mode="clip"), _tables(kernel)
        )
        out = jax.lax.map(
            lambda x: _with_tables(kernel, x[0])(*x[1]), (tables, samples)
        )
    out = einops.rearrange(out, "b n (t l) h -> b t l n h", t=frames)
    return out[:, :, :tokens]


def splash_prompt_attention(
    query: Float[Array, "B T L N H"],
    key: Float[Array, "B T S N H"],
    value: Float[Array, "B T S N H"],
    mask: Bool[Array, "T S"] | None = None,
    **options: Any,
) -> Float[Array, "B T L N H"]:
    """Attention of each frame to its own text tokens.

    Args:
      query: of T frames.
      key, value: of each frame's own text tokens.
      mask: which of them it sees, or None where it sees all.
      options: `chip` and `interpret` of `splash_frame_attention`.

    Returns:
      [B, T, L, N, H] in the dtype of `value`.
    """
    batch, frames = query.shape[:2]
    query, key, value = (
        einops.rearrange(x, "b t l n h -> (b t) 1 l n h") for x in (query, key, value)
    )
    valid = None
    if mask is not None:
        valid = jnp.tile(jnp.asarray(mask)[:, None], (batch, 1, 1))
    seen = np.ones((1, 1), bool)
    out = splash_frame_attention(query, key, value, seen, valid, **options)
    return einops.rearrange(out, "(b t) 1 l n h -> b t l n h", t=frames)


class FrameMask(masks.Mask):
    """A rule between frames as a mask of tokens, of which only slices are ever made.

    Rows are T frames of `rows` tokens, columns are F frames of `padded` ones. Padding
    is hidden as a key; as a query it sees what its frame sees, which keeps its softmax
    finite.

    Attributes:
      seen: bool [T, F].
      rows: of a query frame, with padding.
      tokens: of a key frame, without padding.
      padded: of a key frame, with padding.
    """

    def __init__(self, seen: np.ndarray, rows: int, tokens: int, padded: int) -> None:
        self.seen = np.array(seen, bool)  # a copy: it is hashed
        self.rows, self.tokens, self.padded = rows, tokens, padded

    @property
    def shape(self) -> tuple[int, int]:
        frames, others = self.seen.shape
        return frames * self.rows, others * self.padded

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        rows, columns = (
            range(size)[part] for size, part in zip(self.shape, index, strict=True)
        )
        chunk = np.zeros((len(rows), len(columns)), bool)
        for frame, of_frame in _parts(rows, self.rows, self.rows):
            for other, of_other in _parts(columns, self.padded, self.tokens):
                chunk[of_frame, of_other] = self.seen[frame, other]
        return chunk

    def _identity(self) -> tuple:
        return (
            self.seen.shape,
            self.seen.tobytes(),
            self.rows,
            self.tokens,
            self.padded,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FrameMask):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


def _parts(places: range, padded: int, length: int) -> Iterator[tuple[int, slice]]:
    """Frames that `places` touch, and where their first `length` tokens are in them."""
    if not places:
        return
    for frame in range(places[0] // padded, places[-1] // padded + 1):
        first = frame * padded - places[0]
        yield frame, slice(max(first, 0), max(first + length, 0))


def block_sizes(
    tokens: int, key_tokens: int, most: Blocks
) -> tuple[int, int, kernels.BlockSizes]:
    """The lengths that frames are padded to, and blocks that divide them.

    Large blocks want padding, small ones are slow: the choice is the least area of
    blocks, each counted `LANES` longer and wider than it is (an estimate).

    Args:
      tokens: of a frame of queries.
      key_tokens: of a frame of keys.
      most: the largest blocks allowed, multiples of `LANES`.

    Returns:
      (length of a frame of queries, of keys, blocks).
    """
    of_query, query = _padding(tokens, most.query, max(most))
    of_key, compute = _padding(key_tokens, most.compute, max(most))
    key = _divisor(of_key, most.key, compute)
    # One backward kernel for all gradients would keep a gradient to the queries for
    # each block of keys; two kernels compute the logits once more instead.
    return (
        of_query,
        of_key,
        kernels.BlockSizes(
            block_q=query,
            block_kv=key,
            block_kv_compute=compute,
            block_q_dkv=query,
            block_kv_dkv=key,
            block_kv_dkv_compute=compute,
            block_q_dq=query,
            block_kv_dq=compute,  # this kernel works its keys all at once
            use_fused_bwd_kernel=False,
        ),
    )


def _padding(tokens: int, limit: int, largest: int) -> tuple[int, int]:
    """A frame's length with padding, and the block it divides into."""
    least = -(-tokens // LANES) * LANES

    def cost(padded: int) -> float:
        return padded * (1 + LANES / _divisor(padded, limit))

    padded = min(range(least, least + largest, LANES), key=cost)
    return padded, _divisor(padded, limit)


def _divisor(length: int, limit: int, step: int = LANES) -> int:
    """The largest multiple of `step` that divides a length and is within a limit."""
    sizes = range(step, min(length, limit) + 1, step)
    return max(size for size in sizes if length % size == 0)


@functools.lru_cache(maxsize=64)
def _kernel(
    mask: FrameMask, heads: int, sizes: kernels.BlockSizes, interpret: bool
) -> Kernel:
    """The kernel of a mask, its tables on the host: cached, so never traced values."""

    def make() -> Kernel:
        kernel = kernels.make_splash_mha_single_device(
            masks.MultiHeadMask([mask] * heads),
            block_sizes=sizes,
            residual_checkpoint_name=SAVED,
            interpret=interpret,
        )
        return jax.tree.map(np.asarray, kernel)

    # In a thread of its own no trace is under way and no mesh in force, whose devices
    # may only be there to compile for.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


@functools.lru_cache(maxsize=64)
def _kernel_of_choices(
    masks_of_rules: tuple[FrameMask, ...],
    heads: int,
    sizes: kernels.BlockSizes,
    interpret: bool,
) -> Kernel:
    """A kernel whose tables have an axis of rules before all others.

    The blocks with padding are the same under every rule: they have no such axis.
    """
    made = [_kernel(mask, heads, sizes, interpret) for mask in masks_of_rules]

    def together(name: str, axis: int) -> Any:
        infos = [getattr(kernel, name) for kernel in made]

        def stacked(field: str, fill: str) -> np.ndarray | None:
            tables = [getattr(info, field) for info in infos]
            if tables[0] is None:
                return None
            longest = max(table.shape[axis] for table in tables)
            return np.stack([_longer(t, longest, axis, fill) for t in tables])

        return infos[0]._replace(
            # A block that is not worked is that of the step before: nothing is loaded.
            data_next=stacked("data_next", "edge"),
            mask_next=stacked("mask_next", "edge"),
            block_mask=stacked("block_mask", "constant"),
        )

    return kernels.SplashAttentionKernel(
        together("fwd_mask_info", 2),
        together("dq_mask_info", 2),
        together("dkv_mask_info", 1),
        **made[0].kwargs,
    )


def _longer(table: np.ndarray, length: int, axis: int, fill: Any) -> np.ndarray:
    """Steps of the kernel added where it has none of its own: behind the keys of a
    block of queries (axis 2), before the queries of a block of keys (axis 1)."""
    more = length - table.shape[axis]
    widths = [(0, 0)] * table.ndim
    widths[axis] = (0, more) if axis == 2 else (more, 0)
    return np.pad(table, widths, mode=fill)


def _tables(kernel: Kernel) -> tuple[dict[str, Any], ...]:
    """Give what differs by rule of the three kernels, forward and backward."""
    infos = (kernel.fwd_mask_info, kernel.dq_mask_info, kernel.dkv_mask_info)
    names = ("data_next", "mask_next", "block_mask")
    return tuple({name: getattr(info, name) for name in names} for info in infos)


def _with_tables(kernel: Kernel, tables: tuple[dict[str, Any], ...]) -> Kernel:
    """The kernel with the tables of one rule."""
    infos = (kernel.fwd_mask_info, kernel.dq_mask_info, kernel.dkv_mask_info)
    return kernels.SplashAttentionKernel(
        *(info._replace(**table) for info, table in zip(infos, tables, strict=True)),
        **kernel.kwargs,
    )


def _chip() -> str:
    name = chip_of(device_at_hand())
    return name if name in BLOCKS else "default"


def _hidden(
    valid: Bool[Array, "B F"] | Bool[Array, "B F M"], padded: int
) -> Int[Array, "B F*{padded}"]:
    """0 for tokens of keys that are seen, with padding, 1 for others."""
    hidden = jnp.where(valid, 0, 1).astype(jnp.int32)
    if valid.ndim == 2:
        return jnp.repeat(hidden, padded, 1)
    missing = padded - valid.shape[2]
    hidden = jnp.pad(hidden, ((0, 0), (0, 0), (0, missing)), constant_values=1)
    return hidden.reshape(len(valid), -1)


def _heads_first(
    x: Float[Array, "B T L N H"], padded: int
) -> Float[Array, "B N T*{padded} H"]:
    """Heads before tokens, which every frame has `padded` of."""
    x = jnp.pad(x, ((0, 0), (0, 0), (0, padded - x.shape[2]), (0, 0), (0, 0)))
    return einops.rearrange(x, "b t l n h -> b n (t l) h")
