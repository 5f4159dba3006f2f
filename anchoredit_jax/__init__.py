"""AnchorEdit in JAX: multi-turn image editing with a memory that anchors identity.

from anchoredit_jax import load_editor

session = load_editor().start("photo.png")
image = session.edit("make the background blue")
"""

__version__ = "0.1.0"

__all__ = ["EditSession", "Editor", "edit_together", "load_editor"]


def __getattr__(name: str):
    """Load the editing API on first use: importing the package costs nothing."""
    if name in __all__:
        from anchoredit_jax import session

        return getattr(session, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
