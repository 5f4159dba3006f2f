"""Aspect-ratio buckets: the sizes a model is trained at, and which one an image takes.

A bucket is (height, width), both multiples of a step, of at most the area of the image
size they are made for. An image is cut to the bucket's aspect (`images.crop_box`) and
resized to it. All of a batch comes from one bucket, so every bucket is one compiled
program.
"""

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction

from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import Bounded, result

Size = tuple[int, int]

RULES = ("log_ratio", "ratio")


@dataclasses.dataclass(frozen=True)
class BucketConfig(Bounded, place="data.sessions.buckets"):
    """The sizes that images are cut to.

    Attributes:
      step: pixels that both sides are multiples of; None is about a sixteenth of
        `data.size`, in whole tokens.
      max_ratio: of the longer side to the shorter one; what is longer loses its ends.
      rule: "log_ratio", or "ratio", that of the reference.
      mix_turns: runs of all lengths share a batch, padded to the longest and masked;
        else a batch has one number of turns.
    """

    step: int | None = result(None, within="[1, 65536]")
    max_ratio: float = result(4.0, within="[1, 1000]")
    rule: str = result("log_ratio", within=RULES)
    mix_turns: bool = result(False)


def make_buckets(size: Size, step: int, max_ratio: float = 4.0) -> tuple[Size, ...]:
    """The buckets for images of about `size`, from tall to wide.

    They follow the staircase below the area of `size`: at each height the widths that
    still fit, then the next lower height. The table is symmetric under rotation.

    Args:
      size: (height, width) in pixels, multiples of `step`; only its area counts.
      step: pixels; the codec's stride times the patch, or a multiple of that.
      max_ratio: the largest ratio of the longer side to the shorter one.

    Returns:
      (height, width) in pixels of each bucket.

    Raises:
      UserError: a size that is no multiple of the step, or settings out of range.
    """
    if step < 1 or max_ratio < 1:
        raise UserError(
            f"buckets: step and max_ratio must be at least 1, given {step} and "
            f"{max_ratio}"
        )
    if any(side < step or side % step for side in size):
        near = [max(round(side / step), 1) * step for side in size]
        raise UserError(
            f"buckets: both sides of the image size must be multiples of {step}, given "
            f"{size[0]} x {size[1]}; the nearest such size is {near[0]} x {near[1]}"
        )
    area = size[0] * size[1]
    height, width = _begin(area, step, max_ratio)
    buckets = []
    while height >= step and width <= max_ratio * (height + step):
        if max(height, width) <= max_ratio * min(height, width):
            buckets.append((height, width))
        if height * (width + step) <= area:
            width += step
        else:
            height -= step
    return tuple(buckets)


def _begin(area: int, step: int, max_ratio: float) -> Size:
    """Where the staircase may have its first bucket; above all is too elongated."""
    steps = math.isqrt(math.ceil(area * max_ratio)) // step + 2
    if steps >= area // step // step:
        return area // step, step
    height = steps * step
    return height, max(area // (height + step) // step, 1) * step


def nearest_bucket(
    size: Size, buckets: Sequence[Size], rule: str = "log_ratio"
) -> Size:
    """The bucket whose aspect is nearest to an image's.

    Ties go to the bucket whose area is nearest to the image's, then to the less
    elongated one, then to the first.

    Args:
      size: (height, width) of the image in pixels, orientation tag applied.
      buckets: what `make_buckets` gives.
      rule: "log_ratio", the distance |log(h / w) - log(h' / w')|, computed exactly: an
        image and the same image rotated by 90 degrees take rotated buckets (the square
        image aside, which is its own rotation). "ratio" is the rule of the original
        implementation, |h / w - h' / w'|, which is coarser for wide images than for
        tall ones; weights trained with it have seen its choices.

    Raises:
      UserError: an empty image, no buckets, or an unknown rule.
    """
    height, width = size
    if rule not in RULES:
        raise UserError(f"bucket rule must be one of {RULES}, given {rule!r}")
    if height < 1 or width < 1:
        raise UserError(
            f"image of {height} x {width} pixels has no aspect ratio: both sides must "
            "be at least 1"
        )
    if not buckets:
        raise UserError("no buckets to choose from: make some with make_buckets")

    def distances(bucket: Size) -> tuple[float | Fraction, ...]:
        area = abs(bucket[0] * bucket[1] - height * width)
        if rule == "ratio":
            return abs(height / width - bucket[0] / bucket[1]), area
        # The log is monotone: comparing exp(distance), a fraction, needs no rounding.
        distance = _elongation(height * bucket[1], width * bucket[0])
        return distance, area, _elongation(*bucket)

    return min(buckets, key=distances)


def _elongation(height: int, width: int) -> Fraction:
    """Longer side over shorter side."""
    return Fraction(max(height, width), min(height, width))
