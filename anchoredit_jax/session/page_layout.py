"""The page: which control calls what. Needs Gradio (the extra `app`)."""

import functools
import html
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
from fastapi.responses import JSONResponse

from anchoredit_jax.errors import UserError
from anchoredit_jax.session import page, page_look
from anchoredit_jax.session.drift import Drift
from anchoredit_jax.session.editor import Editor
from anchoredit_jax.session.page_actions import Actions
from anchoredit_jax.session.page_files import KEPT
from anchoredit_jax.strict import shorten

log = logging.getLogger(__name__)

_AFTER = "() => setTimeout(window.afterAction, 300)"  # ms until the pictures are drawn


def build_page(editor: Editor, zips: Path) -> gr.Blocks:
    """The page on one editor; what a user does is kept in that user's state alone.

    Args:
      zips: folder that files for download are written into.
    """
    actions = Actions(editor, zips)
    with _Page(
        title="AnchorEdit", analytics_enabled=False, delete_cache=(KEPT, KEPT)
    ) as blocks:
        state = gr.State(None, time_to_live=KEPT)
        gr.Markdown("# AnchorEdit", elem_id="title")
        with gr.Row(elem_id="work"):
            with gr.Column(scale=1, min_width=220, elem_id="opening"):
                source = _picture("Source", buttons=["fullscreen"])
                with gr.Column(min_width=120):
                    # Not gr.Image: that would decode the file in its own way.
                    file = gr.File(
                        label="Open an image or a session",
                        file_count="single",
                        elem_id="upload",
                    )
                    sample = gr.Button("Use the sample", size="sm", elem_id="sample")
            with gr.Column(scale=3, min_width=300, elem_id="editing"):
                instruction = gr.Textbox(
                    label="Instruction",
                    placeholder="what to change; empty keeps the image",
                    max_lines=1,
                    elem_id="instruction",
                )
                with gr.Row(elem_id="examples"):
                    for text in page_look.EXAMPLES:
                        gr.Button(text, size="sm", min_width=60).click(
                            None, None, instruction, js=f"() => {text!r}"
                        )
                with gr.Row(elem_id="buttons"):
                    edit, undo, again, branch = (
                        gr.Button(
                            text,
                            variant="primary" if text == "Edit" else "secondary",
                            min_width=60,
                            elem_id=text.lower(),
                        )
                        for text in ("Edit", "Undo", "Retry", "Branch")
                    )
                status = gr.HTML(_line("No image is open."), elem_id="status")
                with gr.Tabs(elem_id="views"):
                    with gr.Tab("Result"):
                        result = _picture("Result", buttons=["download", "fullscreen"])
                    with gr.Tab("Compare"):
                        compare = gr.ImageSlider(
                            label="Source left, result right",
                            format="jpeg",
                            interactive=False,
                            buttons=[],
                            max_height=320,
                            elem_id="compare",
                        )
                    with gr.Tab("Difference"):
                        difference = _picture("Difference", buttons=["download"])
        strip = gr.Gallery(
            label="Turns",
            allow_preview=False,
            interactive=False,
            buttons=[],
            elem_id="strip",
        )
        name = gr.Dropdown(label="Branch", choices=[], elem_id="branches")
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            gr.Markdown(page_look.SETTINGS)
            with gr.Row():
                seed = gr.Number(0, label="Seed", info="of the next edit", min_width=90)
                settings = [
                    gr.Number(value, label=label, info=info, min_width=90)
                    for label, value, info in _settings(editor)
                ]
            repeat = gr.Button("Repeat with these settings", elem_id="repeat")
        with gr.Accordion("Drift", open=False, elem_id="drift"):
            gr.Markdown(page_look.DRIFT)
            drift = gr.LinePlot(
                x="turn",
                y="difference",
                color="over",
                y_title="mean difference from the source, of 255",
                label="Difference from the source",
                buttons=[],
            )
        with gr.Accordion("Download", open=False, elem_id="keep"):
            pack = gr.Button("Make a zip file of this branch", elem_id="pack")
            zipped = gr.File(
                label="Zip file", interactive=False, visible=False, elem_id="zip"
            )
        with gr.Accordion("How this works", open=False):
            gr.Markdown(page_look.ABOUT)

        shown = [state, instruction, file, strip, source, result, compare]
        shown += [difference, drift, status, name]

        def show(visitor: Any, opened: bool, edited: bool) -> dict[Any, Any]:
            view = page.view(visitor.branches)
            return {
                state: visitor,
                strip: gr.Gallery(value=view.strip, selected_index=view.selected),
                result: view.result,
                compare: (view.source, view.result),
                difference: view.difference,
                drift: gr.LinePlot(
                    _rows(view.drift), sort=_turns(len(view.drift.whole))
                ),
                status: _line(view.status, view.details),
                name: gr.Dropdown(choices=list(view.names), value=view.current),
                **({source: view.source, file: None} if opened else {}),
                **({instruction: ""} if edited else {}),
            }

        def on(
            events: Callable | list[Callable],
            action: Callable,
            *inputs: Any,
            waits: bool = False,
            opens: bool = False,
            edits: bool = False,
        ) -> None:
            """Let events carry out an action, and show what it gives or refuses.

            Args:
              waits: for the editor, which one at a time uses: a device does not gain
                from two.
            """

            @functools.wraps(action)  # its signature tells Gradio what to pass
            def shown_action(*given: Any) -> dict[Any, Any]:
                try:
                    return show(action(*given), opens, edits)
                except UserError as error:
                    return _refusal(error, status) | ({file: None} if opens else {})

            limits = {"concurrency_id": "editor", "concurrency_limit": 1}
            gr.on(
                events, shown_action, [state, *inputs], shown,
                show_progress="full" if waits else "hidden", show_progress_on=[status],
                **(limits if waits else {"concurrency_limit": 8}),
            ).then(None, None, None, js=_AFTER)  # fmt: skip

        one = {"waits": True}
        on(file.upload, actions.open_file, file, seed, *settings, **one, opens=True)
        on(sample.click, actions.open_sample, seed, *settings, **one, opens=True)
        on([edit.click, instruction.submit], actions.edit, instruction, seed,
           **one, edits=True)  # fmt: skip
        on(again.click, actions.retry, **one)
        on(repeat.click, actions.repeat, *settings, **one)
        on(undo.click, actions.undo)
        on(branch.click, actions.branch)
        on(name.input, actions.switch, name)
        on(strip.select, actions.goto)

        def pack_branch(visitor: Any) -> dict[Any, Any]:
            try:
                return {zipped: gr.File(str(actions.pack(visitor)), visible=True)}
            except UserError as error:
                return _refusal(error, status)

        pack.click(pack_branch, state, [zipped, status], show_progress_on=[zipped])
    return blocks


def _picture(label: str, **options: Any) -> gr.Image:
    return gr.Image(
        label=label, format="png", interactive=False, elem_id=label.lower(), **options
    )


def _settings(editor: Editor) -> list[tuple[str, float | None, str]]:
    """(label, the editor's own value, what it is), as `with_choices` takes them."""
    sampler, memory = editor.sampler, editor.memory
    return [
        ("Steps", editor.steps, "per turn"),
        ("Guidance", sampler.guidance, "1 is none"),
        ("Shift", sampler.shift if sampler.timesteps is None else None,
         "towards noise; empty: as trained"),
        ("Sink", memory.sink, "first frames kept for ever"),
        ("Window", memory.window, "recent frames kept"),
    ]  # fmt: skip


def _rows(drift: Drift) -> pd.DataFrame:
    """`drift` as the plot takes it."""
    curves = {"the whole image, edits included": drift.whole}
    if drift.untouched is not None:
        curves[f"drift, over the {drift.share:.0%} no turn changed"] = drift.untouched
    return pd.DataFrame(
        [
            {"turn": turn, "difference": value, "over": over}
            for over, values in curves.items()
            for turn, value in zip(_turns(len(values)), values, strict=True)
        ]
    )


def _turns(number: int) -> list[str]:
    """Words, for between two turns there is nothing; the plot asks for their order."""
    return [str(turn) for turn in range(number)]


def _line(text: str, details: str = "") -> str:
    return (
        f'<p role="status">{html.escape(text)}</p>'
        f'<p class="details">{html.escape(details)}</p>'
    )


def _refusal(error: UserError, status: gr.HTML) -> dict[Any, Any]:
    """A message; all that is shown stays."""
    text = html.escape(str(error))
    gr.Warning(text, duration=5, title="Not done")
    return {status: f'<p role="alert">{text}</p>'}


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
