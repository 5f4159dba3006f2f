"""The page: which control calls what. Needs Gradio (the extra `app`)."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi.responses import JSONResponse

from anchoredit_jax.errors import UserError
from anchoredit_jax.session import page
from anchoredit_jax.session.branches import Branches
from anchoredit_jax.session.editor import Editor
from anchoredit_jax.session.loaded_model import SHIPPED
from anchoredit_jax.strict import shorten

log = logging.getLogger(__name__)

ABOUT = """# AnchorEdit
Choose an image, then edit it by instruction, turn after turn. Click a turn below to go
back to it; the next edit goes on from there, and "Branch here" keeps both ways.
A session ends when the page is loaded anew, and after an hour without use: make a zip
file to keep it. Choose that file, or its session.safetensors, to go on with it."""


def build_page(editor: Editor, zips: Path) -> gr.Blocks:
    """The page on one editor; what a user does is kept in that user's state alone.

    Args:
      zips: folder that files for download are written into.
    """
    with _Page(
        title="AnchorEdit", analytics_enabled=False, delete_cache=(page.KEPT, page.KEPT)
    ) as blocks:
        branches = gr.State(None, time_to_live=page.KEPT)
        gr.Markdown(ABOUT)
        with gr.Row():
            with gr.Column(scale=2):
                # Not gr.Image: that would decode the file in its own way.
                file = gr.File(
                    label="Image or saved session",
                    file_count="single",
                    height=110,
                    elem_id="upload",
                )
                with gr.Row():
                    seed = gr.Number(0, label="Seed", min_width=80)
                    sample = gr.Button("Use the sample", elem_id="sample")
            with gr.Column(scale=3):
                instruction = gr.Textbox(
                    label="Instruction",
                    placeholder="make the background blue; empty keeps the image",
                    elem_id="instruction",
                )
                with gr.Row():
                    edit = gr.Button("Edit", variant="primary", elem_id="edit")
                    undo = gr.Button("Undo", elem_id="undo")
                    branch = gr.Button("Branch here", elem_id="branch")
                name = gr.Dropdown(label="Branch", choices=[], elem_id="branches")
        status = gr.Markdown(elem_id="status")
        with gr.Row():
            source, result, difference = (
                gr.Image(
                    label=label, format="png", interactive=False, elem_id=label.lower()
                )
                for label in ("Source", "Result", "Difference")
            )
        strip = gr.Gallery(
            label="Turns",
            columns=8,
            allow_preview=False,
            object_fit="contain",
            height=240,
            interactive=False,
            elem_id="strip",
        )
        with gr.Row():
            drift = gr.Plot(label="Difference from the source", elem_id="drift")
            with gr.Column():
                pack = gr.Button("Make a zip file of this branch", elem_id="pack")
                zipped = gr.File(label="Download", interactive=False, elem_id="zip")

        shown = [branches, strip, source, result, difference, drift, status, name]
        # One edit at a time: a device does not gain from two.
        one = {"concurrency_id": "editor", "concurrency_limit": 1}

        def on(event: Callable, action: Callable, *inputs: Any) -> Any:
            return event(_showing(action), [branches, *inputs], shown, **one)

        def open_file(_, path, seed):
            return page.open_file(editor, path, seed, zips.parent)

        def open_sample(_, seed):
            return page.open_image(editor, SHIPPED / "sample.png", seed)

        on(file.upload, open_file, file, seed)
        on(sample.click, open_sample, seed)
        for event in (edit.click, instruction.submit):
            on(event, _edit, instruction).success(lambda: "", None, instruction)
        on(undo.click, _undo)
        on(branch.click, _branch)
        on(name.input, _switch, name)
        on(strip.select, _goto)
        pack.click(functools.partial(_pack, zips), branches, zipped, **one)
    return blocks


class _Page(gr.Blocks):
    """Refuses in a line what this page's own controls do not send; Gradio by itself
    writes a traceback to the log for it."""

    async def preprocess_data(self, *inputs: Any, **options: Any) -> Any:
        try:
            return await super().preprocess_data(*inputs, **options)
        except (gr.Error, ValueError, TypeError, LookupError, OSError) as error:
            first = shorten(str(error).strip().partition("\n")[0])
            raise gr.Error(
                f"these inputs are not what the page sends: {first}",
                print_exception=False,
            ) from error


async def refuse_request(request: Any, error: Exception) -> JSONResponse:
    """The answer to a request for what is not there, such as an unknown function."""
    log.warning("refused a request for %s: %s", request.url.path, shorten(str(error)))
    return JSONResponse({"detail": "there is nothing of this name"}, 404)


def _showing(action: Callable) -> Callable:
    """Show the branches that `action` gives on the whole page."""

    @functools.wraps(action)  # its signature tells Gradio what to pass
    def show(*inputs: Any) -> tuple:
        with _told():
            branches = action(*inputs)
            view = page.view(branches)
        return (
            branches,
            gr.Gallery(value=view.strip, selected_index=view.selected),
            view.source,
            view.result,
            view.difference,
            view.drift,
            view.status,
            gr.Dropdown(choices=list(view.names), value=view.current),
        )

    return show


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """A `UserError` becomes a message on the page."""
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error


def _opened(branches: Branches | None) -> Branches:
    if not isinstance(branches, Branches):
        raise UserError(
            "no image is open: choose one, or a saved session (a session ends when the "
            "page is loaded anew, and after an hour without use)"
        )
    return branches


def _edit(
    branches: Branches | None,
    instruction: str,
    progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio asks for it)
) -> Branches:
    def on_step(step: int, steps: int) -> None:
        progress((step, steps), desc="denoising", unit="steps")

    if not isinstance(instruction, str):
        raise UserError(f"an instruction must be text, given {instruction!r}")
    page.check_room(_opened(branches))
    branches.session.edit(instruction.strip(), on_step=on_step)
    return branches


def _undo(branches: Branches | None) -> Branches:
    _opened(branches).session.undo()
    return branches


def _goto(branches: Branches | None, chosen: gr.EventData) -> Branches:
    # Not gr.SelectData: that takes for granted that a browser of ours has sent it.
    sent = chosen._data
    turn = sent.get("index") if isinstance(sent, dict) else None
    if not isinstance(turn, int) or isinstance(turn, bool):
        raise UserError(f"a turn is a whole number, given {turn!r}")
    _opened(branches).session.goto(turn)
    return branches


def _branch(branches: Branches | None) -> Branches:
    opened = _opened(branches)
    page.check_room(opened, turn=False)
    opened.branch(opened.free_name())
    return opened


def _switch(branches: Branches | None, name: str) -> Branches:
    if not isinstance(name, str):
        raise UserError(f"a branch has a name, given {name!r}")
    _opened(branches).switch(name)
    return branches


def _pack(zips: Path, branches: Branches | None) -> str:
    with _told():
        return str(page.make_zip(_opened(branches), zips))
