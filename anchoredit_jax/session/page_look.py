"""How the page looks and what it says. Needs Gradio (the extra `app`)."""

from pathlib import Path

import gradio as gr

from anchoredit_jax.session.drift import VISIBLE

_HERE = Path(__file__).parent
# For `Blocks.launch`. Gradio's own orange is too light for white letters.
LAUNCH = {
    "css_paths": _HERE / "page.css",
    "js": (_HERE / "page.js").read_text(),
    "theme": gr.themes.Default(primary_hue="blue").set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    ),
}
EXAMPLES = (
    "make the background blue",
    "add a red circle at the top left",
    "cover the subject",
    "uncover the subject",
)
ABOUT = """Open an image, or the sample, and say what to change, turn after turn. Enter
edits, Ctrl-Z goes back a turn, and so does a click on an earlier turn; the next edit
goes on from there and replaces what came after. *Retry* makes the last turn again with
another seed. *Branch* keeps the turns as they are and goes on in a copy.

Each tab has a session of its own. It ends when the page is loaded anew, and after an
hour without use: make a zip file to keep it, and open that file to go on."""
DRIFT = f"""A difference from the source is mostly what was asked for. Drift is what
remains where no turn changed a pixel by more than {VISIBLE} of 255 at once; what a turn
damages at one blow passes for an edit. Where all was
edited, no drift is told."""
SETTINGS = """They hold for the image that is opened next, the seed for the next edit.
*Repeat* makes all turns of this branch again with them, as a new branch."""
