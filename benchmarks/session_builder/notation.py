"""Lists of instructions for a benchmark, as people write them.

A .txt file has an instruction a line; blank lines and lines after "#" do not count.
Tags in brackets may stand before it:

    make the coat red
    [local] add a straw hat
    [global] make it a rainy night
    [undo] undo the last change
    [return 1] undo the hat and the rain
    [return 0] go back to the original image
    [null]

[return n] says that the right answer is the image after turn n, 0 being the source;
[undo] is [return] to the image before the last turn. [null] is the null instruction,
which keeps the image as it is; an empty text is refused.

A .json file has a list of such turns: a text, null for the null instruction, or an
object {language: text}, beside which "scope" ("local", "global") and "returns_to" (a
number, "undo") may stand. "text" stands for the language that plain texts are in.

A pool (see `pool`) may also have [return any] or "returns_to": "any".
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anchoredit_jax.data.sessions.raw import PLAIN
from anchoredit_jax.data.sessions.validation import SCOPES
from anchoredit_jax.errors import UserError, noting
from anchoredit_jax.models.text import check_length

UNDO = "undo"
ANY = "any"
SUFFIXES = (".txt", ".json")
LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]+)*")

_TAG = re.compile(r"\[([^\[\]]*)\]\s*")
_RETURN = re.compile(r"return\s+([0-9]{1,4}|any)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One turn of a list.

    Attributes:
      texts: language -> text; empty for the null instruction.
      scope: "local" (a part of the image), "global" (all of it), None if not said.
      returns_to: the turn whose image is right again (0: the source), None for a new
        image; `UNDO` before `number_turns`, `ANY` in a pool.
    """

    texts: Mapping[str, str]
    scope: str | None = None
    returns_to: int | str | None = None


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a .txt file that counts, and its number there."""

    number: int
    text: str


def load_list(path: Path) -> Any:
    """What a .json file holds, or the lines of a .txt file that count.

    Raises:
      UserError: it is no such file, cannot be read or parsed, or an object has a key
        twice.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError("expected a .txt or .json file of instructions")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return json.loads(text, object_pairs_hook=_object)
    except UserError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"it cannot be read as UTF-8 text: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"it is no JSON: {error}") from error
    lines = (Line(n, line.strip()) for n, line in enumerate(text.split("\n"), 1))
    return [line for line in lines if line.text and not line.text.startswith("#")]


def is_list(value: object) -> bool:
    """Whether a file holds one list; else it is to hold one for each image."""
    return not isinstance(value, dict) or set(value) == {"instructions"}


def parse_list(
    value: object, where: str, language: str, problems: list[str]
) -> list[Instruction | None]:
    """The turns of a list; None in place of a refused one, so that numbers hold.

    Args:
      value: of `load_list`.
      where: what problems call the list.
      language: that plain texts are in.
      problems: takes a line for everything that is refused.

    Raises:
      UserError: it is no list.
    """
    if isinstance(value, dict) and is_list(value):
        value = value["instructions"]
    if not isinstance(value, list):
        raise UserError("expected a list of instructions")
    turns: list[Instruction | None] = []
    for number, entry in enumerate(value, 1):
        line = isinstance(entry, Line)
        place = f"{where}, line {entry.number}" if line else f"{where}, turn {number}"
        turns.append(None)
        with noting(problems, place):
            turns[-1] = parse_entry(
                _parse_line(entry.text) if line else entry, language
            )
    return turns


def parse_entry(entry: object, language: str) -> Instruction:
    """A turn as in a JSON file, see above.

    Raises:
      UserError: it is no such turn.
    """
    if entry is None or isinstance(entry, str):
        entry = {PLAIN: entry}
    if not isinstance(entry, dict):
        raise UserError(f"expected a text, null or an object, given {entry!r}")
    texts = dict(entry)
    scope, returns_to = texts.pop("scope", None), texts.pop("returns_to", None)
    if scope is not None and scope not in SCOPES:
        raise UserError(f"scope {scope!r}: expected one of {', '.join(SCOPES)}")
    number = type(returns_to) is int and returns_to >= 0
    if not (number or returns_to in (None, UNDO, ANY)):
        raise UserError(
            f"returns_to {returns_to!r}: expected the number of an earlier turn, 0 for "
            f"the source, or {UNDO!r}"
        )
    if texts == {PLAIN: None}:
        if (scope, returns_to) != (None, None):
            raise UserError("the null instruction has neither scope nor return")
        return Instruction({})
    return Instruction(_check_texts(texts, language), scope, returns_to)


def number_turns(
    entries: Sequence[Instruction | None], where: str, problems: list[str]
) -> list[Instruction]:
    """The list with the turn that every return leads to, without what was refused.

    Args:
      entries: of `parse_list`.
      where: what problems call the list.
      problems: takes a line for every return to a later turn or to the very image that
        is there, for a turn that lacks a language, and for `ANY`.
    """
    languages = {name for entry in entries if entry for name in entry.texts}
    turns, states = [], [0]  # the turn that first had the image of every turn
    for number, entry in enumerate(entries, 1):
        states.append(number)
        with noting(problems, f"{where}, turn {number}"):
            if entry is None:
                continue
            target = number - 2 if entry.returns_to == UNDO else entry.returns_to
            if not entry.texts:
                states[-1] = states[-2]
            elif lacking := sorted(languages - set(entry.texts)):
                raise UserError(f"it has no {lacking[0]!r}, which other turns have")
            if target is not None:
                states[-1] = _return(target, states)
            turns.append(dataclasses.replace(entry, returns_to=target))
    return turns


def to_document(turns: Sequence[Instruction], language: str) -> dict[str, Any]:
    """`<id>.json`, as the readers of `data.sessions` take it.

    Args:
      turns: of `number_turns`.
      language: of the null instruction, where there are no other texts.
    """
    names = next((tuple(turn.texts) for turn in turns if turn.texts), (language,))
    null = dict.fromkeys(names, "")
    return {
        "instructions": [dict(turn.texts) or null for turn in turns],
        "turns": [
            {"scope": turn.scope, "returns_to": turn.returns_to} for turn in turns
        ],
    }


def _return(target: int | str, states: Sequence[int]) -> int:
    """The state of a turn that returns; `states` has those up to this turn."""
    number = len(states) - 1
    if target == ANY:
        raise UserError("[return any] is for a pool: say the turn's number")
    if target < 0:
        raise UserError("there is no change to undo yet")
    if target >= number:
        raise UserError(
            f"it returns to turn {target}, which is not earlier: the source is 0, the "
            f"turn before it {number - 1}"
        )
    if states[target] == states[-2]:
        raise UserError(
            f"it returns to the image of turn {target}, which is the one it is given; "
            "undoing the last change is [undo], or the number of the turn before that"
        )
    return states[target]


def _check_texts(texts: Mapping[str, object], language: str) -> dict[str, str]:
    if PLAIN in texts and language in texts:
        raise UserError(f"{PLAIN!r} and {language!r} are the same language: give one")
    checked = {}
    for key, text in texts.items():
        if key != PLAIN and not LANGUAGE.fullmatch(key):
            raise UserError(
                f"unknown key {key!r}: expected a language such as 'en', {PLAIN!r}, "
                "'scope' or 'returns_to'"
            )
        if not isinstance(text, str) or not text.strip():
            raise UserError(
                f"an empty instruction in {key!r}: write a text, or [null] (in JSON "
                "null) for the null instruction"
            )
        check_length(text)
        if text != text.encode("utf-8", "replace").decode("utf-8"):
            raise UserError(f"the text {text!r} is not Unicode")
        checked[language if key == PLAIN else key] = text.strip()
    if not checked:
        raise UserError("it has no text: give one, such as {'en': 'add a hat'}")
    return checked


def _parse_line(line: str) -> dict[str, Any]:
    """A line of a .txt file as the object of a .json file."""
    entry: dict[str, Any] = {}
    while line.startswith("["):
        tag = _TAG.match(line)
        word = " ".join(tag[1].split()).lower() if tag else ""
        returns = _RETURN.fullmatch(word)
        if word in SCOPES:
            key, value = "scope", word
        elif word == UNDO:
            key, value = "returns_to", UNDO
        elif returns:
            target = returns[1]
            key, value = "returns_to", target if target == ANY else int(target)
        elif word == "null":
            key, value = PLAIN, None
        else:
            raise UserError(
                f"unknown tag in {line!r}: expected [local], [global], [undo], "
                "[return N] or [null]"
            )
        if key in entry:
            raise UserError(f"two tags in one line say different things: {line!r}")
        entry[key] = value
        line = line[tag.end() :]
    if PLAIN in entry and line:
        raise UserError(f"[null] stands alone, given the text {line!r}")
    return {PLAIN: line} | entry


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"the key {twice!r} is there twice in an object")
    return found
