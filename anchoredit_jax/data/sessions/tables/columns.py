"""Which column of a table plays which role, given by name or found by known names.

Roles: "session" and "turn" group rows to sessions; "source" and "target" are images, or
lists of them with one entry a turn; "images" is a list of all T images; "files" is a
list of objects {id, path or url}, such as published multi-turn sets have; "instruction"
is a text, or a list of them. A further form of the instructions, a language or the
short form of long ones, is the role "instruction.<its name>".

A column is a name, or a path into what it holds: "prompts.0" is the first of a list,
"meta.text" a field of an object.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anchoredit_jax.errors import UserError

IMAGES = ("source", "target", "images", "files")
ROLES = ("session", "turn", *IMAGES, "instruction")

_KNOWN = {
    "turn": "turn_index turn_id turn_number turn_idx turn step round",
    "source": "local_input_image source_img source_image source original_image "
    "original input_image input_img src_img before input image image_file file_name",
    "target": "target_img target_image targets target edited_image edited_img "
    "output_image output_img tgt_img target_images edited_images edited after output "
    "edited_file",
    "images": "images frames",
    "files": "files",
    "instruction": "instruction instructions edit_instruction edit_prompt edit_prompts "
    "metadata_edit_turn_prompts edit prompt prompts text txt",
    "instruction.short": "short_instruction short_instructions instruction_short "
    "instructions_short summarized_text",
}
# Of rows that a turn number orders, and of rows that are a session each.
_SESSION = "img_id session_id session conversation_id sequence_id image_id id key uid"
_NAME = "session_id session id key uid __key__"
_PATHS = ("", "_path", "_paths", "_file", "_files", "_file_name", "_file_names")
_LANGUAGE = re.compile(r"instructions?_([a-z]{2})")


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns that are read.

    Attributes:
      paths: (role, column) of every role that has one.
    """

    paths: tuple[tuple[str, str], ...]

    @property
    def by_turn(self) -> bool:
        """Whether a row is a turn, of the session that it names."""
        return {"session", "turn"} <= dict(self.paths).keys()

    def only(self, *roles: str) -> "Columns":
        """Those of some roles."""
        return Columns(tuple(pair for pair in self.paths if pair[0] in roles))

    def pick(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Role -> value of a row; None where there is none."""
        return {role: value_at(row, path) for role, path in self.paths}

    def tops(self, names: Iterable[str], also: Iterable[str] = ()) -> list[str]:
        """Those of a table's columns that must be read, with further paths."""
        wanted = {path for _, path in self.paths} | set(also)
        return [name for name in names if any(_within(path, name) for path in wanted)]

    def describe(self) -> str:
        """What a row is, and the columns, on one line."""
        told = ", ".join(f"{role}={path}" for role, path in self.paths)
        return f"one row a {'turn' if self.by_turn else 'session'} ({told})"


def parse_columns(text: str) -> tuple[tuple[str, str], ...]:
    """ "role=column,.." as (role, column); an empty column: the role has none.

    Raises:
      UserError: an unknown role, one that is given twice, or no "=".
    """
    given: dict[str, str] = {}
    for entry in filter(None, text.split(",")):
        role, equals, path = (piece.strip() for piece in entry.partition("="))
        known = role in ROLES or re.fullmatch(r"instruction\.\w+", role)
        if not (equals and known) or role in given:
            raise UserError(
                f"--columns: expected such as source=before,target=after, each role "
                f"once, of {', '.join(ROLES)} or instruction.zh; given {entry!r}"
            )
        given[role] = path
    return tuple(given.items())


def choose_columns(
    names: Sequence[str], given: Sequence[tuple[str, str]], where: str
) -> Columns:
    """The columns of a table with such names.

    Args:
      names: of the table's columns.
      given: (role, column), see `parse_columns`; the other roles are looked for.
      where: the table, for errors.

    Raises:
      UserError: a given column is not there, or a role that must be has none.
    """
    chosen, there = dict(given), {name.lower(): name for name in reversed(names)}
    for role, path in given:
        if path and not any(_within(path, name) for name in names):
            raise UserError(
                f"--columns {role}={path}: {where} has no such column, but "
                + _listed(names)
            )
    known = {role: listed.split() for role, listed in _KNOWN.items()}
    if chosen.get("images") or chosen.get("files"):
        known["source"], known["target"] = [], []
    for role, candidates in known.items():
        variants = [name + end for end in _PATHS for name in candidates]
        chosen.setdefault(
            role, _first(variants if role in IMAGES else candidates, there)
        )
    ids = _SESSION if chosen["turn"] else _NAME
    chosen.setdefault("session", _first(ids.split(), there))
    for name in names:
        if found := _LANGUAGE.fullmatch(name.lower()):
            chosen.setdefault(f"instruction.{found[1]}", name)
    if chosen["images"] or chosen["files"]:
        if not chosen["target"]:
            chosen["source"] = chosen["source"] if chosen["files"] else ""
        elif not dict(given).get("images") and not dict(given).get("files"):
            chosen["images"] = chosen["files"] = ""  # of something else
    taken = {role: path for role, path in chosen.items() if path}
    _check(taken, names, where)
    return Columns(tuple(taken.items()))


def value_at(row: Any, path: str) -> Any:
    """What lies at a path of a row; None where the way ends early."""
    if isinstance(row, Mapping) and path in row:
        return row[path]
    head, _, rest = path.partition(".")
    if isinstance(row, Mapping):
        value = row.get(head)
    elif isinstance(row, Sequence) and not isinstance(row, str | bytes):
        value = row[int(head)] if head.isdecimal() and int(head) < len(row) else None
    else:
        return None
    return value_at(value, rest) if rest and value is not None else value


def _check(chosen: Mapping[str, str], names: Sequence[str], where: str) -> None:
    several = "images" in chosen or "files" in chosen
    need = ("target", "images", "files")
    missing = None if any(role in chosen for role in need) else "target"
    if not several and "target" in chosen and "source" not in chosen:
        missing = "source"
    if not any(role.startswith("instruction") for role in chosen):
        missing = missing or "instruction"
    if "turn" in chosen and "session" not in chosen:
        missing = missing or "session"
    if missing:
        raise UserError(
            f"{where}: no column is known to be the {missing}; name it as --columns "
            f"{missing}=NAME, of {_listed(names)}"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, sorted(names)[:40])) or "none at all"


def _first(candidates: Iterable[str], there: Mapping[str, str]) -> str:
    return next((there[name] for name in candidates if name in there), "")


def _within(path: str, name: str) -> bool:
    return path == name or path.startswith(name + ".")
