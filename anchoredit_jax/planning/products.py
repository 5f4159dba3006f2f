"""Operations of matrix products and convolutions, as XLA's HloCostAnalysis has them."""

import functools
import math
import re

from anchoredit_jax.planning.hlo import Array, Computation, Instruction


def product_flops(computation: Computation, instruction: Instruction) -> int:
    """Operations of a `dot` or a `convolution`; 0 for anything else."""
    if instruction.opcode not in ("dot", "convolution"):
        return 0
    left, right = (computation[name].shape for name in instruction.operands[:2])
    if instruction.opcode == "convolution":
        return _convolution_flops(instruction, left, right)
    contracted = _numbers(instruction.find(r"\blhs_contracting_dims=\{([\d,]*)\}"))
    return 2 * instruction.shape.elements * math.prod(left.dims[i] for i in contracted)


def _convolution_flops(instruction: Instruction, left: Array, right: Array) -> int:
    labels = instruction.find(r"\bdim_labels=(\S+?)(?:,|$)")
    left_labels, right_labels, out_labels = re.split("_|->", labels)
    sizes = {
        "left": dict(zip(left_labels, left.dims, strict=True)),
        "right": dict(zip(right_labels, right.dims, strict=True)),
        "out": dict(zip(out_labels, instruction.shape.dims, strict=True)),
    }
    groups = int(instruction.find(r"\bfeature_group_count=(\d+)") or 1)
    batch_groups = int(instruction.find(r"\bbatch_group_count=(\d+)") or 1)
    window = dict(
        part.split("=")
        for part in (instruction.find(r"\bwindow=\{([^}]*)\}") or "").split()
    )
    spatial = sorted(label for label in out_labels if label.isdigit())
    settings = [
        (window[key].split("x") if key in window else [default] * len(spatial))
        for key, default in (
            ("stride", "1"),
            ("pad", "0_0"),
            ("lhs_dilate", "1"),
            ("rhs_dilate", "1"),
        )
    ]
    positions = 1
    for label, stride, pad, left_dilate, right_dilate in zip(
        spatial, *settings, strict=True
    ):
        positions *= _positions(
            *(sizes[side][label] for side in ("left", "right", "out")),
            int(stride),
            int(pad.partition("_")[0]),
            int(left_dilate),
            int(right_dilate),
        )
    features = sizes["left"]["f"] // groups * sizes["out"]["f"]
    return 2 * features * (sizes["left"]["b"] // batch_groups) * positions


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


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text or ""))
