"""Editing an image turn after turn: load an editor, start a session, edit, go back.

`load_editor("W").start("cat.png").edit("make the background blue").save("blue.png")`
"""

from anchoredit_jax.session.edit_session import EditSession, edit_together
from anchoredit_jax.session.editor import Editor, load_editor
from anchoredit_jax.session.turns import Turn

__all__ = ["EditSession", "Editor", "Turn", "edit_together", "load_editor"]
