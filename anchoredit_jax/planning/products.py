"""Operations of matrix products and convolutions, as XLA's HloCostAnalysis has them."""

import functools
import math
import re

from anchoredit_jax.planning.hlo import Array, Computation, Instruction, integers


def product_flops(computation: Computation, instruction: Instruction) -> int:
    """Operations of a `dot` or a `convolution`; 0 for anything else."""
    if instruction.opcode not in ("dot", "convolution"):
        return 0
    left, right = (computation[name].shape for name in instruction.operands[:2])
    if instruction.opcode == "convolution":
        return _convolution_flops(instruction, left, right)
    contracted = integers(
        instruction.find(r"\blhs_contracting_dims=\{([\d,]*)\}") or ""
    )
    return 2 * instruction.shape.elements * math.prod(left.dims[i] for i in contracted)


def _convolution_flops(convolution: Instruction, left: Array, right: Array) -> int:
    labels = re.split("_|->", convolution.find(r"\bdim_labels=(\S+?)(?:,|$)"))
    arrays = (left, right, convolution.shape)
    inputs, _, out = sides = [
        dict(zip(names, array.dims, strict=True))
        for names, array in zip(labels, arrays, strict=True)
    ]
    window = convolution.find(r"\bwindow=\{([^}]*)\}") or ""

    def along(axis: int, setting: str, default: int) -> int:
        """A number of `stride=2x1` by its axis; of `pad=1_2x0_0` those before."""
        found = re.search(rf"\b{setting}=(\S+)", window)
        return int(found[1].split("x")[axis].partition("_")[0]) if found else default

    positions = math.prod(
        _positions(
            *(side[label] for side in sides),
            stride=along(axis, "stride", 1),
            pad=along(axis, "pad", 0),
            left_dilate=along(axis, "lhs_dilate", 1),
            right_dilate=along(axis, "rhs_dilate", 1),
        )
        for axis, label in enumerate(sorted(name for name in out if name.isdigit()))
    )
    groups = int(convolution.find(r"\bfeature_group_count=(\d+)") or 1)
    batch_groups = int(convolution.find(r"\bbatch_group_count=(\d+)") or 1)
    features = inputs["f"] // groups * out["f"]
    return 2 * features * (inputs["b"] // batch_groups) * positions


@functools.cache
def _positions(
    left: int,
    right: int,
    out: int,
    stride: int,
    pad: int,
    left_dilate: int,
    right_dilate: int,
) -> int:
    """Pairs of kernel and output position that meet an element of the input.

    The compiler writes a batch dimension of size n as a spatial one of stride n - 1 and
    dilation n, where n of the n * n pairs do.
    """
    step = math.gcd(stride, left_dilate)
    period = left_dilate // step
    inverse = pow(stride // step, -1, period)
    count = 0
    for kernel in range(right):
        # Output positions o: o * stride = shift + i * left_dilate, 0 <= i < left.
        shift = pad - kernel * right_dilate
        if shift % step:
            continue
        low = max(0, -(-shift // stride))
        high = min(out - 1, (shift + (left - 1) * left_dilate) // stride)
        first = low + (shift // step * inverse - low) % period
        count += max(0, (high - first) // period + 1)
    return count
