"""The contact sheets by step, under a slider; of two workdirs beside each other."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from anchoredit_jax.watching.records import WorkdirRecord, order_of
from anchoredit_jax.web_page import png_uri

# (number of the workdir, stage, file) -> what an image element shows.
Address = Callable[[int, str, Path], str]
Key = tuple[str, int]  # stage and step


def in_the_page(workdir: int, stage: str, path: Path) -> str:
    """The `Address` of a page that needs no other file."""
    return png_uri(path)


def choose(keys: Sequence[Key], most: int | None) -> list[Key]:
    """The latest of the keys and, up to `most` in all, others evenly before it."""
    if most is None or len(keys) <= most:
        return list(keys)
    if most == 1:
        return [keys[-1]]
    spacing = (len(keys) - 1) / (most - 1)
    return [keys[round(number * spacing)] for number in range(most)]


def draw_sheets(
    workdirs: Sequence[WorkdirRecord], most: int | None, address: Address
) -> str:
    """The slider and its pictures: at each of its places a workdir shows its latest
    sheet up to there."""
    found = [
        {(s.name, step): path for s in w.stages for step, path in s.sheets.items()}
        for w in workdirs
    ]
    keys = sorted({key for own in found for key in own}, key=_order)
    if not keys:
        return "<p>no sample sheets yet</p>"
    chosen, broken = choose(keys, most), []
    columns = []
    for number, (workdir, own) in enumerate(zip(workdirs, found, strict=True)):
        figures, before = [], None
        for place, key in enumerate(chosen):
            at = max(
                (k for k in own if _order(k) <= _order(key)), key=_order, default=None
            )
            if at is None or at == before:
                continue
            if not is_whole(own[at]):
                broken.append(f"{workdir.name}/{at[0]}/{own[at].name}")
                continue
            before = at
            where = escape(f"{workdir.name}: {at[0]}, step {at[1]:,}")
            source = escape(address(number, at[0], own[at]))
            figures.append(
                f'<figure data-from="{place}" hidden><figcaption>{where}</figcaption>'
                f'<div class="wide"><img alt="sample sheet of {where}" loading="lazy" '
                f'src="{source}"></div></figure>'
            )
        if figures:
            figures[-1] = figures[-1].replace(" hidden>", ">", 1)
        missing = f"<p hidden>{escape(workdir.name)}: no sheet up to here</p>"
        columns.append(f'<div class="sheet">{missing}{"".join(figures)}</div>')
    told = f"{len(chosen)} of {len(keys)} sheets" if len(chosen) < len(keys) else ""
    told = told and f"<p><small>{told}: evenly spaced, with the latest</small></p>"
    if broken:
        told += f"<p>no whole PNG files, left out: {escape(', '.join(broken))}</p>"
    last = len(chosen) - 1
    names = "|".join(f"{stage}, step {step:,}" for stage, step in chosen)
    return (
        '<div class="slider"><label for="sheet">Sheet of <output id="sheet-at">'
        f"{escape(names.rpartition('|')[2])}</output></label>"
        f'<button type="button" id="earlier" aria-label="earlier sheet">◀</button>'
        f'<input type="range" id="sheet" min="0" max="{last}" value="{last}" step="1" '
        f'data-names="{escape(names)}" autocomplete="off">'
        f'<button type="button" id="later" aria-label="later sheet">▶</button>'
        '<label class="check"><input type="checkbox" id="full" autocomplete="off"> '
        f'full size</label></div><div class="pair" id="sheets">{"".join(columns)}</div>'
        f"{told}"
    )


def is_whole(path: Path) -> bool:
    """Whether a PNG file has its first and its last bytes."""
    with path.open("rb") as file:
        begins = file.read(8) == b"\x89PNG\r\n\x1a\n"
        size = file.seek(0, 2)
        file.seek(max(size - 12, 0))
        return begins and file.read()[4:8] == b"IEND"


def _order(key: Key) -> tuple:
    return (order_of(key[0]), key[1])
