"""What became of held-out sessions that were edited turn after turn."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from anchoredit_jax.data.held_out_sessions import HeldOutSession
from anchoredit_jax.data.pixel_error import psnr, squared_error
from anchoredit_jax.evaluation.cases import Case, score_cases
from anchoredit_jax.evaluation.measures.session import identity_drift
from anchoredit_jax.evaluation.measures.tone import (
    high_frequency_energy,
    luma,
    mean_saturation,
)
from anchoredit_jax.session.contact_sheet import SheetRow, draw_sheet, stack_sheets


def score_edits(
    sessions: Sequence[HeldOutSession], edited: np.ndarray, kept: np.ndarray
) -> dict[str, float]:
    """Means over the sessions, by turn.

    Args:
      edited: uint8 [n, N, H, W, 3], the result of every instruction; of a session with
        fewer turns the rest counts for nothing.
      kept: uint8 [n, N, H, W, 3], the same sources under the null instruction again and
        again.

    Returns:
      "edited/<measure>/<turn>", turns from 1: "psnr" to the truth, in dB; "colour", the
      mean saturation less the truth's; "sharpness", fine detail as a ratio to the
      truth's; "identity_drift" of `kept` from its source, in levels of 255; of sprites
      "success" and "subject_psnr", and "edited/success" over all turns.
    """
    values: dict[str, np.ndarray] = {
        name: np.full(edited.shape[:2], np.nan)
        for name in ("psnr", "colour", "sharpness")
    }
    for row, session in enumerate(sessions):
        truths = session.read_images()[1 : len(session.instructions) + 1]
        for turn, truth in enumerate(truths):
            found = _against(edited[row, turn], truth)
            for name, value in found.items():
                values[name][row, turn] = value
    sources = np.stack([session.read_images()[0] for session in sessions])
    loops = np.concatenate([sources[:, None], kept], 1)
    values["identity_drift"] = np.stack([identity_drift(frames) for frames in loops])
    row = {}
    if all(session.sprite is not None for session in sessions):
        scores = score_cases([_case(s) for s in sessions], list(edited))
        values |= {"success": scores.success, "subject_psnr": scores.subject_psnr}
        row["edited/success"] = float(np.nanmean(scores.success))
    for name, of_turns in values.items():
        for turn in range(of_turns.shape[1]):
            known = of_turns[:, turn][np.isfinite(of_turns[:, turn])]
            if len(known):
                row[f"edited/{name}/{turn + 1}"] = float(known.mean())
    return row


def draw_edits(sessions: Sequence[HeldOutSession], edited: np.ndarray) -> Image.Image:
    """A sheet: of every session what was made of it, above what is right."""
    sheets = []
    for session, results in zip(sessions, edited, strict=True):
        truth = session.read_images()[: len(session.instructions) + 1]
        made = np.concatenate([truth[:1], results[: len(session.instructions)]])
        rows = [SheetRow("edited", made), SheetRow("right", truth)]
        captions = ["source", *session.instructions]
        sheets.append(draw_sheet(rows, captions, title=session.name))
    return stack_sheets(sheets)


def _against(image: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    detail = high_frequency_energy(luma(truth))
    return {
        "psnr": float(psnr(squared_error(image, truth).mean(dtype=np.float64))),
        "colour": mean_saturation(image) - mean_saturation(truth),
        "sharpness": high_frequency_energy(luma(image)) / detail if detail else np.nan,
    }


def _case(session: HeldOutSession) -> Case:
    source = session.read_images()[0]
    return Case(
        session.name, source, session.instructions,
        sprite=session.sprite, view=session.view,
    )  # fmt: skip
