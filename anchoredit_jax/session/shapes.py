"""The size that an image is edited at: the one that training would have given it.

Weights trained on prepared sessions of all shapes edit an image in its bucket. Those
trained on squares edit squares. Of imported weights no training is known: they take
buckets too. Who asks for a size gets it.
"""

import dataclasses
import re

from anchoredit_jax.data.buckets import BucketConfig, Size, nearest_bucket
from anchoredit_jax.data.session_buckets import bucket_table
from anchoredit_jax.errors import UserError
from anchoredit_jax.run_config import RunConfig

AUTO = "auto"
# None: as trained. "auto": the image's bucket. A side: the bucket among those of its
# square's area. (height, width): exactly that.
AskedSize = int | str | Size | None


def editing_size(
    run: RunConfig, image: Size, asked: AskedSize = None, *, trained: bool = True
) -> Size:
    """The size that an image is edited at.

    Args:
      run: that made the weights.
      image: (height, width) of the decoded image.
      asked: None is the rule above; "auto" the image's bucket, whatever the training
        was; a side in pixels the bucket of that square's area; (height, width) exactly
        that.
      trained: whether `run` tells what the weights were trained on.

    Returns:
      (height, width) in pixels, multiples of codec stride x patch.

    Raises:
      UserError: a size that cannot be, with the nearest that can.
    """
    check_asked(run, asked)
    if isinstance(asked, tuple):
        return asked
    side, sessions = run.data.size, run.data.sessions
    if asked is None and trained and sessions is None:
        return side, side
    config = BucketConfig() if sessions is None else sessions.buckets
    if isinstance(asked, int) and asked != side:  # its steps are in proportion
        side, config = asked, dataclasses.replace(config, step=None)
    table = bucket_table(side, run.codec.stride * run.model.patch, config)
    return nearest_bucket(image, table, config.rule)


def check_asked(run: RunConfig, asked: AskedSize) -> None:
    """Refuse a size that no image can be edited at.

    Raises:
      UserError: no size, or sides that are no multiples of codec stride x patch.
    """
    if asked is None or asked == AUTO:
        return
    sides = asked if isinstance(asked, tuple) else (asked,)
    if len(sides) not in (1, 2) or any(
        isinstance(side, bool) or not isinstance(side, int) for side in sides
    ):
        raise UserError(
            f"size must be {AUTO!r}, a side in pixels, or (height, width), given "
            f"{asked!r}"
        )
    stride, patch = run.codec.stride, run.model.patch
    multiple = stride * patch
    near = tuple(max(round(side / multiple), 1) * multiple for side in sides)
    if sides != near:
        given, nearest = (" x ".join(map(str, told)) for told in (sides, near))
        what = "(height x width) " if len(sides) == 2 else ""
        raise UserError(
            f"size {given} {what}must be a multiple of {multiple} (codec stride "
            f"{stride} x patch {patch}); the nearest is {nearest}"
        )


def read_size(text: str) -> AskedSize:
    """A size as people write it: "auto", "1024", or width x height, "1344x768".

    Raises:
      UserError: anything else.
    """
    if text == AUTO:
        return AUTO
    written = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not written:
        raise UserError(
            f"a size is {AUTO!r}, a side such as 1024, or width x height such as "
            f"1344x768, given {text!r}"
        )
    width, height = written.groups()
    return int(width) if height is None else (int(height), int(width))
