"""Sessions of a whole dataset that are left out of it, and pictures of them.

They keep their place, with 0 turns: no plan takes them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from anchoredit_jax import files
from anchoredit_jax.data.likeness import near_duplicates
from anchoredit_jax.data.prepared.filters import NEAR_DUPLICATE, Filters, compared
from anchoredit_jax.data.prepared.part import LEFT_OUT, PICTURES, Bad
from anchoredit_jax.data.prepared.reader import PreparedSessions
from anchoredit_jax.data.sessions import REASONS
from anchoredit_jax.data.strips import draw_strip, stack_strips


def leave_out_near(
    kept: Sequence[Path],
    origins: Sequence[str],
    columns: Mapping[str, np.ndarray],
    filters: Filters,
) -> tuple[list[Bad], list[tuple[int, int]]]:
    """Near duplicates keep their place, with 0 turns, as duplicates do: (lines on them,
    the first few with what they are like)."""
    if filters.near == "keep" or not kept:
        return [], []
    looks, tints = (
        compared(filters, np.concatenate([np.load(f / f"{name}.npy") for f in kept]))
        for name in ("looks", "tints")
    )
    there = np.flatnonzero(columns["turns"])
    earlier = near_duplicates(looks[there], tints[there])
    found = np.flatnonzero(earlier >= 0)
    pairs = [(int(there[i]), int(there[earlier[i]])) for i in found.tolist()]
    sizes = [len(np.load(folder / "keys.npy", mmap_mode="r")) for folder in kept]
    part_of = np.repeat(np.arange(len(kept)), sizes)
    columns["turns"][there[found]] = 0
    bad = [
        (
            *(origins[part_of[again]], f"number {again}", NEAR_DUPLICATE),
            f"session number {first} has nearly the same "
            + ("source" if filters.near == "images" else "source and last image"),
        )
        for again, first in pairs
    ]
    return bad, pairs[:PICTURES]


def show_left_out(
    out: Path, folders: Sequence[Path], pairs: Sequence[tuple[int, int]]
) -> None:
    """A picture of a few sessions for every reason of a filter, in `LEFT_OUT`."""
    shown = {
        path.name: path.read_bytes()
        for folder in reversed(folders)
        for path in sorted((folder / LEFT_OUT).glob("*.png"))
    }
    if pairs:
        sessions = PreparedSessions(out)
        strips = [
            draw_strip(sessions[number].images, f"number {number}: {what}")
            for again, first in pairs
            for number, what in ((first, "kept"), (again, "left out"))
        ]
        shown[f"{NEAR_DUPLICATE}.png"] = stack_strips(strips)
    for path in (out / LEFT_OUT).glob("*.png"):  # of what the source had
        if path.name not in shown and path.stem in REASONS:
            path.unlink()
    for name, data in shown.items():
        (out / LEFT_OUT).mkdir(exist_ok=True)
        files.write_bytes(out / LEFT_OUT / name, data)


def leave_out_duplicates(
    kept: Sequence[Path], origins: Sequence[str], columns: Mapping[str, np.ndarray]
) -> list[Bad]:
    """Sessions whose name an earlier part has too keep their place, with 0 turns: no
    plan takes them."""
    keys = [np.load(folder / "keys.npy") for folder in kept]
    joined = np.concatenate(keys or [np.zeros(0, np.uint64)])
    again = np.ones(len(joined), bool)
    again[np.unique(joined, return_index=True)[1]] = False
    columns["turns"][again] = 0
    part_of = np.repeat(np.arange(len(kept)), [len(part) for part in keys])
    return [
        (
            origins[part_of[index]],
            f"number {index}",
            "duplicate",
            "an earlier part has a session of the same name",
        )
        for index in np.flatnonzero(again)
    ]
