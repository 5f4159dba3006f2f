"""What the page's controls do, each for one visitor. Needs Gradio (the extra `app`).

A visitor is one tab of a browser. Who edits waits for the editor; who only looks, or
goes back, does not wait for what others edit.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from anchoredit_jax.errors import UserError
from anchoredit_jax.session import page_files
from anchoredit_jax.session.branches import Branches
from anchoredit_jax.session.edit_session import EditSession, OnStep
from anchoredit_jax.session.editor import Editor
from anchoredit_jax.session.loaded_model import SHIPPED
from anchoredit_jax.session.page_settings import repeat, retry, with_choices

_PROGRESS = gr.Progress()  # as a parameter's default: how Gradio asks for it


@dataclasses.dataclass(frozen=True, eq=False)
class Visitor:
    """Somebody's branches; one action at a time may change them."""

    branches: Branches
    busy: Any = dataclasses.field(default_factory=threading.Lock)


class Actions:
    """The actions on one editor. Each takes a visitor, None before an image is open,
    and what its controls hold, and gives the visitor back.

    Args:
      zips: folder that files for download are written into.
    """

    def __init__(self, editor: Editor, zips: Path):
        self.editor = editor
        self._zips = zips
        self._compiled: set[Any] = set()  # (settings, sizes) that made a turn here

    def open_file(
        self, visitor: Visitor | None, path: str | None, seed: float, *settings: Any
    ) -> Visitor:
        editor = with_choices(self.editor, *settings)
        return Visitor(page_files.open_file(editor, path, seed, self._zips.parent))

    def open_sample(
        self, visitor: Visitor | None, seed: float, *settings: Any
    ) -> Visitor:
        editor = with_choices(self.editor, *settings)
        return Visitor(page_files.open_image(editor, SHIPPED / "sample.png", seed))

    def edit(
        self,
        visitor: Visitor | None,
        instruction: str,
        seed: float,
        progress: gr.Progress = _PROGRESS,
    ) -> Visitor:
        if not isinstance(instruction, str):
            raise UserError(f"an instruction must be text, given {instruction!r}")
        number = page_files.read_whole("a seed", seed)
        with _changing(visitor) as branches:
            page_files.check_room(branches)
            session = branches.session
            with self._telling(session, session.editor, progress) as on_step:
                session.edit(instruction.strip(), number, on_step)
        return visitor

    def retry(
        self, visitor: Visitor | None, progress: gr.Progress = _PROGRESS
    ) -> Visitor:
        with _changing(visitor) as branches:
            page_files.check_room(branches)
            session = branches.session
            with self._telling(session, session.editor, progress) as on_step:
                retry(session, on_step)
        return visitor

    def repeat(
        self,
        visitor: Visitor | None,
        steps: float,
        guidance: float,
        shift: float,
        sink: float,
        window: float,
        progress: gr.Progress = _PROGRESS,
    ) -> Visitor:
        with _changing(visitor) as branches:
            session = branches.session
            editor = with_choices(session.editor, steps, guidance, shift, sink, window)
            with self._telling(session, editor, progress) as on_step:
                repeat(branches, editor, on_step)
        return visitor

    def undo(self, visitor: Visitor | None) -> Visitor:
        with _changing(visitor) as branches:
            branches.session.undo()
        return visitor

    def goto(self, visitor: Visitor | None, chosen: gr.EventData) -> Visitor:
        # Not gr.SelectData: that takes for granted that a browser of ours has sent it.
        sent = chosen._data
        turn = sent.get("index") if isinstance(sent, dict) else None
        if not isinstance(turn, int) or isinstance(turn, bool):
            raise UserError(f"a turn is a whole number, given {turn!r}")
        with _changing(visitor) as branches:
            branches.session.goto(turn)
        return visitor

    def branch(self, visitor: Visitor | None) -> Visitor:
        with _changing(visitor) as branches:
            page_files.check_room(branches, 0, new_branch=True)
            branches.branch(branches.free_name())
        return visitor

    def switch(self, visitor: Visitor | None, name: str) -> Visitor:
        if not isinstance(name, str):
            raise UserError(f"a branch has a name, given {name!r}")
        with _changing(visitor) as branches:
            branches.switch(name)
        return visitor

    def pack(self, visitor: Visitor | None) -> Path:
        """A zip file of the current branch."""
        with _changing(visitor) as branches:
            return page_files.make_zip(branches, self._zips)

    @contextlib.contextmanager
    def _telling(
        self, session: EditSession, editor: Editor, progress: Callable
    ) -> Iterator[OnStep]:
        """Yields what tells the page of every step, and before the first one whether
        programs are compiled that nobody here has used yet."""
        program = id(editor.programs), session.size
        height, width = session.size
        new = program not in self._compiled
        progress(
            (0, editor.steps),
            desc=f"compiling for {width} x {height}, once" if new else "denoising",
            unit="steps",
        )

        def on_step(step: int, steps: int) -> None:
            progress((step, steps), desc="denoising", unit="steps")

        yield on_step
        self._compiled.add(program)


@contextlib.contextmanager
def _changing(visitor: Visitor | None) -> Iterator[Branches]:
    """The visitor's branches, which nothing else changes meanwhile.

    Raises:
      UserError: no image is open, or another action is at them.
    """
    if not isinstance(visitor, Visitor):
        raise UserError(
            "no image is open: choose one, or a saved session (a session ends when the "
            "page is loaded anew, and after an hour without use)"
        )
    if not visitor.busy.acquire(blocking=False):
        raise UserError("the turn before is still being made: wait for it")
    try:
        yield visitor.branches
    finally:
        visitor.busy.release()
