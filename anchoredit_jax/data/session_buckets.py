"""Which sizes sessions are trained at, and what a person should know of them."""

import math
from collections.abc import Sequence

from anchoredit_jax.data.buckets import BucketConfig, Size, make_buckets
from anchoredit_jax.data.plan import BatchPlan, coverage
from anchoredit_jax.errors import UserError

SIDES = 16  # steps along the side of the square, about: 49 sizes up to 4 : 1


def bucket_table(
    size: int,
    unit: int,
    config: BucketConfig = BucketConfig(),  # noqa: B008  (frozen)
) -> tuple[Size, ...]:
    """(height, width) in pixels of all buckets, see `make_buckets`.

    Args:
      size: side of the square whose area they have, pixels.
      unit: side of a token, pixels: the codec's stride times the patch.

    Raises:
      UserError: sides that are not made of whole tokens.
    """
    step = default_step(size, unit) if config.step is None else config.step
    if step % unit:
        raise UserError(
            f"data.sessions.buckets.step must be a multiple of {unit} pixels, the "
            f"codec's stride times the patch; got {step}"
        )
    return make_buckets((size, size), step, config.max_ratio)


def default_step(size: int, unit: int) -> int:
    """The multiple of `unit` that divides `size` and is nearest to a sixteenth of it;
    `unit` itself where the size is no multiple of it."""
    whole = [step for step in range(unit, size + 1, unit) if size % step == 0]
    wanted = math.log(size / SIDES)
    return min(whole, key=lambda step: abs(math.log(step) - wanted), default=unit)


def check_tokens(
    shapes: Sequence[tuple[int, int, int]], unit: int, context: int
) -> None:
    """UserError unless the devices of the mesh's axis `context` share every frame's
    tokens evenly: else each of them would silently do all attention.

    Args:
      shapes: (frames, height, width) of batches, pixels.
      unit: side of a token, pixels.
      context: `mesh.context`.
    """
    uneven = {
        (height, width): height // unit * (width // unit)
        for _, height, width in shapes
        if height // unit * (width // unit) % context
    }
    if uneven:
        (height, width), tokens = next(iter(uneven.items()))
        step = unit * next(n for n in range(1, context + 1) if n * n % context == 0)
        raise UserError(
            f"images of {height} x {width} pixels have {tokens} tokens a frame, which "
            f"mesh.context {context} does not divide ({len(uneven)} sizes): set "
            f"data.sessions.buckets.step (data.size without buckets) to a multiple of "
            f"{step}, or another mesh.context"
        )


def describe_coverage(
    shapes: Sequence[tuple[int, Size]], plan: BatchPlan, batch: int
) -> str:
    """What a person should know before training: how many programs are compiled, and
    which buckets never fill a batch.

    Args:
      shapes: (turns, (height, width)) of each bucket.
    """
    sizes, lengths = {size for _, size in shapes}, {turns for turns, _ in shapes}
    lines = [
        f"{len(shapes)} programs are compiled, one for each shape of a batch: "
        f"{len(sizes)} sizes, {len(lengths)} numbers of turns"
    ]
    for (turns, (height, width)), entry in zip(
        shapes, coverage(plan, batch), strict=True
    ):
        told = f"{turns} turns {height} x {width}: {entry.samples} samples, "
        told += f"{entry.batches} batches of {batch}"
        if entry.empty:
            told += f", {entry.empty} places empty"
        if entry.never_full:
            told += " (never fills a batch)"
        lines.append(told)
    lines.append(f"{plan.steps_per_epoch} steps an epoch")
    return "\n".join(lines)
