"""Work of the attention kernels in a compiled program: only blocks that are seen count.

The program tells shapes and block sizes; which blocks are worked stands in a table that
goes into the kernel as a constant (`models/splash.py`). Where samples choose among
rules, the constant has a table of each; the one with the most blocks is counted.
"""

import json
import math
import re
from typing import NamedTuple

import numpy as np

from anchoredit_jax.errors import UserError
from anchoredit_jax.planning.hlo import Array
from anchoredit_jax.planning.program import Kernel

# Products of a block of queries with a block of keys: logits and output; logits,
# gradients of weights and of queries; the same of keys, and of values.
PRODUCTS = {"fwd": 2, "dq": 3, "dkv": 4}
_INTEGERS = ("s8", "s16", "s32")
_FLOATS = ("bf16", "f32")


class SplashCall(NamedTuple):
    """A call of an attention kernel, forward or backward.

    Attributes:
      phase: a key of `PRODUCTS`.
      of_frames: whether it is attention between frames, not to the instructions.
      worked: blocks that are computed, of all heads and samples.
      dense: blocks that there are.
      flops: operations of the products in the blocks that are computed.
      hbm_bytes: operands and outputs once, and what is streamed block by block.
    """

    phase: str
    of_frames: bool
    worked: int
    dense: int
    flops: float
    hbm_bytes: float


def splash_call(kernel: Kernel) -> SplashCall:
    """What a kernel of splash attention computes and moves.

    Raises:
      UserError: another kernel, or one whose table the text does not hold.
    """
    named = re.match(r"splash_\w+?_(fwd|dq|dkv)_", kernel.name)
    found = re.search(r'xprof_metadata":"(\{.*?\})"', kernel.attributes, re.DOTALL)
    if not named or not found:
        raise UserError(
            f"kernel {kernel.name} is not known: its work cannot be counted"
        )
    phase = named[1]
    ending = "" if phase == "fwd" else f"_{phase}"
    sizes = json.loads(found[1].replace('\\"', '"'))
    rows, columns = sizes[f"block_q{ending}"], sizes[f"block_kv{ending}"]
    tables = [
        (array, constant)
        for array, constant in zip(kernel.operands, kernel.constants, strict=True)
        if array.dtype in _INTEGERS and array.dims[-1:] != ()
    ]
    query, key = [a for a in kernel.operands if a.dtype in _FLOATS][:2]
    heads = math.prod(query.dims[:-2])
    width = query.dims[-1]
    dense = (query.dims[-2] // rows) * (key.dims[-2] // columns)
    worked = _worked(kernel, *tables[1])
    blocks = heads * worked
    streamed = columns if phase != "dkv" else rows
    moved = blocks * 2 * streamed * width * key.bits // 8
    once = sum(array.size for array in (*kernel.operands, *kernel.outputs))
    flops = PRODUCTS[phase] * 2.0 * rows * columns * width * blocks
    of_frames = "self_attn" in kernel.op_name
    return SplashCall(
        phase, of_frames, blocks, heads * dense, flops, float(once + moved)
    )


def _worked(kernel: Kernel, table: Array, constant: str | None) -> int:
    """Blocks of a head that are not hidden: 0 in the table is hidden. Of several tables
    the one with the most."""
    if constant is None or "..." in constant:
        raise UserError(
            f"kernel {kernel.name}: the text does not hold its table of blocks; print "
            "the program with large constants"
        )
    values = np.array(re.findall(r"-?\d+", constant), int)
    size = math.prod(table.dims)
    if values.size == 1:  # the same everywhere
        return size if values[0] else 0
    if values.size % size:
        raise UserError(
            f"kernel {kernel.name}: its table has {size} blocks, the text {values.size}"
        )
    return int(np.count_nonzero(values.reshape(-1, size), 1).max())
