"""The editor: a loaded model that starts sessions."""

import dataclasses

from anchoredit_jax.data.images import Source, decode_image, fit_image
from anchoredit_jax.session.edit_session import EditSession
from anchoredit_jax.session.loaded_model import LoadedModel
from anchoredit_jax.session.shapes import AskedSize


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Editor(LoadedModel):
    """What a person edits with. Make one with `load_editor`."""

    def start(
        self, image: Source, seed: int = 0, size: AskedSize = None
    ) -> EditSession:
        """A new session on `image`, see `data.images` for what is accepted.

        It is edited at its own shape, as far as the training knew that; sessions of
        any shapes share an editor, and each new shape is compiled once.

        Args:
          seed: of all turns of the session that are not given one of their own.
          size: that the image is cut and resized to: "auto" for the one whose shape is
            nearest, a side in pixels for the area of another square, (height, width)
            for exactly that; None: the editor's own.

        Raises:
          UserError: the image cannot be decoded, the seed is out of range, or the size
            is none that the model can take.
        """
        decoded = decode_image(image)
        pixels, crop = fit_image(decoded, self.size_of(decoded.shape[:2], size))
        return EditSession.from_pixels(self, pixels, crop, seed)


load_editor = Editor.load
