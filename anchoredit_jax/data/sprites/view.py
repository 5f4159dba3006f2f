"""How a sprite comes before an editor: a picture of any shape, fitted to a size.

The truth passes the same way as the source, so it stays exact: what an editor is
compared with is what training would have shown it of the right picture.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from anchoredit_jax.data.buckets import Size
from anchoredit_jax.data.images import crop_box, fit_image
from anchoredit_jax.data.sprites.render import both_sides, render, subject_mask
from anchoredit_jax.data.sprites.scene import Scene

_RINGING = 8  # of 255: resampling changes pixels beside an edge by as much


@dataclasses.dataclass(frozen=True)
class SpriteView:
    """Scenes drawn as pictures of one shape, cut and resized to one size.

    Attributes:
      picture: (height, width) of the picture, pixels.
      size: (height, width) that it is edited at.
    """

    picture: Size
    size: Size

    @property
    def name(self) -> str:
        """Height and width of the picture, as in "48x64"."""
        return f"{self.picture[0]}x{self.picture[1]}"

    @property
    def tolerance(self) -> int:
        """Levels of 255 up to which two pixels show the same: 0 where each is a block
        of whole pixels of the picture."""
        left, top, right, bottom = crop_box(self.picture, self.size)
        rests = (bottom - top) % self.size[0], (right - left) % self.size[1]
        return _RINGING if any(rests) else 0

    def draw(self, scenes: Sequence[Scene]) -> np.ndarray:
        """uint8 [n, H, W, 3] of `size`.

        Raises:
          UserError: a side of the picture is too small for sprites.
        """
        pictures = render(scenes, self.picture)
        if self.picture == self.size or not len(pictures):
            return pictures.reshape(-1, *self.size, 3)
        return np.stack([fit_image(picture, self.size)[0] for picture in pictures])

    def mask(self, scenes: Sequence[Scene]) -> np.ndarray:
        """Pixels that are the subjects' own, covered or not: bool [n, H, W]."""
        masks = subject_mask(scenes, self.picture)
        if self.picture == self.size or not len(masks):
            return masks.reshape(-1, *self.size)
        drawn = np.repeat(masks[..., None], 3, -1).astype(np.uint8) * 255
        fitted = np.stack([fit_image(mask, self.size)[0][..., 0] for mask in drawn])
        return fitted >= 255 - self.tolerance

    def differ(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Mark where uint8 [..., H, W, 3] of this view show different things: bool."""
        apart = np.abs(first.astype(np.int16) - second).max(-1)
        return apart > self.tolerance


def square_view(size: int | Size) -> SpriteView:
    """Scenes drawn at the model's own size, or as squares of a side."""
    size = both_sides(size)
    return SpriteView(size, size)
