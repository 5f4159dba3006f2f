"""The turns of a session in a row: is each one's source the target before it?

A table has a source for every turn. Where turn k's is not the image that turn k - 1
made, the session has a gap there: an option says whether it is kept (as if its sources
were the targets), split there, or dropped.
"""

import dataclasses
from collections.abc import Iterator, Sequence

from anchoredit_jax.data.images import decode_image
from anchoredit_jax.data.likeness import is_same
from anchoredit_jax.data.sessions.raw import (
    MAX_SESSION_BYTES,
    Dropped,
    RawSession,
    RefusedError,
    build_session,
    complete_texts,
    drop,
    printable,
)
from anchoredit_jax.data.sessions.tables.pictures import Load
from anchoredit_jax.data.sessions.tables.rows import Turn
from anchoredit_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Turns without a gap: numbers, images (source first) and texts."""

    numbers: list[int]
    images: list[tuple[str, bytes]]
    texts: list[dict]


def sessions_of(
    key: str,
    origin: str,
    turns: Sequence[tuple[int, Turn]],
    load: Load,
    languages: Sequence[str],
    on_gap: str = "split",
) -> Iterator[RawSession | Dropped]:
    """The session of some turns, or its pieces between gaps; else why it is dropped.

    Args:
      turns: (number, turn) in any order; numbers need not begin with 1.
      load: gives the bytes of an image.
      languages: of the texts, see `raw.parse_document`.
      on_gap: one of `choices.ON_GAP`.
    """
    ordered = sorted(turns, key=lambda turn: turn[0])
    notes = []
    if list(turns) != ordered:
        notes.append(f"{key}: its turns were out of order")
    try:
        pieces = _pieces(ordered, load)
        gaps = [piece.numbers[0] for piece in pieces[1:]]
        told = "another image than the turn before made is the source of turn "
        told += ", ".join(map(str, gaps))
        if gaps and on_gap == "drop":
            raise RefusedError("gap", told)
        if gaps:
            notes.append(f"{key}: {'kept' if on_gap == 'keep' else 'split'}: {told}")
        if on_gap == "keep":
            pieces = [_joined(pieces)]
    except RefusedError as error:
        yield drop(key, origin, *error.args)
        return
    for place, piece in enumerate(pieces):
        name = f"{key}/from turn {piece.numbers[0]}" if place else key
        found = _build(name, origin, piece, languages)
        if isinstance(found, RawSession) and not place:
            told = (*found.notes, *map(printable, notes))
            found = dataclasses.replace(found, notes=told, gaps=len(gaps))
        yield found


def same_picture(first: bytes, second: bytes) -> bool:
    """Whether two files show the same image, but for compression and its size.

    Raises:
      RefusedError: one of them cannot be decoded.
    """
    if first == second:
        return True
    try:
        return is_same(decode_image(first), decode_image(second))
    except UserError as error:
        raise RefusedError("damaged image", error) from error


def _build(
    key: str, origin: str, piece: _Piece, languages: Sequence[str]
) -> RawSession | Dropped:
    try:
        texts = complete_texts(piece.texts, languages, piece.numbers)
    except RefusedError as error:
        return drop(key, origin, *error.args)
    return build_session(key, origin, dict(enumerate(piece.images)), texts)


def _joined(pieces: Sequence[_Piece]) -> _Piece:
    """All turns after the first source, whatever theirs were."""
    targets = [image for piece in pieces for image in piece.images[1:]]
    return _Piece(
        [number for piece in pieces for number in piece.numbers],
        [pieces[0].images[0], *targets],
        [texts for piece in pieces for texts in piece.texts],
    )


def _pieces(ordered: Sequence[tuple[int, Turn]], load: Load) -> list[_Piece]:
    """Turns from one gap to the next."""
    pieces: list[_Piece] = []
    size = 0
    for place, (number, turn) in enumerate(ordered):
        if place and number == ordered[place - 1][0]:
            raise RefusedError("duplicate", f"it has two rows of turn {number}")
        named = f"turn {number}"
        source = None
        if turn.source is not None or not pieces:
            source = load(turn.source, f"the source of {named}")
        elif number != ordered[place - 1][0] + 1:
            raise RefusedError("missing image", f"nothing leads to {named}: no source")
        target = load(turn.target, f"the target of {named}")
        size += len(target)
        if source is not None and (
            not pieces or not same_picture(source, pieces[-1].images[-1][1])
        ):
            pieces.append(_Piece([], [(f"the source of {named}", source)], []))
            size += len(source)
        if size > MAX_SESSION_BYTES:
            raise RefusedError("too large", f"over {MAX_SESSION_BYTES} bytes of images")
        pieces[-1].numbers.append(number)
        pieces[-1].images.append((f"the target of {named}", target))
        pieces[-1].texts.append(dict(turn.texts))
    return pieces
