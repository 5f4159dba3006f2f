"""The configuration reference: every field of every section of a run.

Types, bounds and defaults are those of the dataclasses; meanings are the entries of
their docstrings under "Attributes".
"""

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from anchoredit_jax.config import section_types
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.table import STAGES
from docs.making.tables import NOTE, cell, code, table

INTRO = """# Configuration reference

Every setting of a run, by its dotted name. Give one behind the colon of `--config`, as
in `configs/sprites.py:stage=causal_forcing,optimizer.learning_rate=1e-4,data.batch=4`;
a name that nothing reads is refused, with the nearest one that is known. The first
words behind the colon that have no dot (`stage`, `preset`, `path`, ..) are arguments of
the configuration file, which says at its top what they mean.

*Default* is that of the code. The shipped configurations set most of what matters: see
`configs/recipe.py`, and for one run `W/STAGE/config.json`. *Decides* says what changes
with a setting: the weights themselves (*geometry*, which no later stage may change;
*assumed geometry* is geometry that published weights do not tell), the *result* of the
run (changed later with `--change` only), or only the *way* there (changed at any time).
*The reference* is the original implementation in PyTorch ([what
differs](differences.md)).
"""
HEADER = ("name", "type", "default", "decides", "meaning")


@dataclasses.dataclass(frozen=True)
class Row:
    """One field of a section; `name` is dotted."""

    name: str
    type: str
    default: str
    decides: str
    meaning: str


def page() -> str:
    """The page in Markdown."""
    parts = [NOTE, INTRO, "\n## run\n\n", _table(_own_rows(RunConfig, ""))]
    shown: dict[type, str] = {}
    for name, section in section_types(next(iter(STAGES))).items():
        if name != "options":
            parts += _sections(section, name, name, 2, shown)
    for stage in STAGES:
        heading = f"options of {stage}"
        section = section_types(stage)["options"]
        parts += _sections(section, "options", heading, 2, shown)
    return "".join(parts)


def rows(cls: type, where: str) -> list[Row]:
    """The fields of a section that are no sections of their own."""
    return _own_rows(cls, f"{where}.")


def subsections(cls: type, where: str) -> Iterator[tuple[type, str]]:
    """(dataclass, dotted name) of the sections inside of one."""
    for name, hint in typing.get_type_hints(cls).items():
        if (section := _section_in(hint)) is not None:
            yield section, f"{where}.{name}"


def meanings(cls: type) -> dict[str, str]:
    """Field -> its entry under "Attributes", also of the classes that it comes from."""
    told: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        text = inspect.cleandoc(one.__doc__ or "").partition("Attributes:\n")[2]
        for entry in re.split(r"\n(?=  \w)", f"\n{text}"):
            names, colon, meaning = entry.partition(":")
            if colon and re.fullmatch(r"[\w, ]+", names.strip()):
                told |= dict.fromkeys(names.replace(" ", "").split(","), meaning)
    return {name: " ".join(meaning.split()) for name, meaning in told.items()}


def _sections(
    cls: type, where: str, heading: str, level: int, shown: dict[type, str]
) -> list[str]:
    """Heading, sentence and table of a section, then those of the sections in it."""
    title = f"\n{'#' * level} {heading}\n\n"
    if cls in shown:
        return [f"{title}Fields as of [{shown[cls]}](#{_anchor(shown[cls])}).\n"]
    shown[cls] = heading
    about = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[0]
    parts = [title, f"{_linked(about)}\n"]
    if own := rows(cls, where):
        parts += ["\n", _table(own)]
    stage = heading.removeprefix("options") if where == "options" else ""
    for section, name in subsections(cls, where):
        parts += _sections(section, name, f"{name}{stage}", level + 1, shown)
    return parts


def _own_rows(cls: type, prefix: str) -> list[Row]:
    hints, told = typing.get_type_hints(cls), meanings(cls)
    made = []
    for field in dataclasses.fields(cls):
        if _section_in(hints[field.name]) or hints[field.name] is Any:
            continue
        meaning = told.get(field.name, "")
        if kinds := field.metadata.get("kinds"):
            meaning += f" Read with kind {' or '.join(kinds)} only."
        made.append(
            Row(
                f"{prefix}{field.name}",
                _type_text(hints[field.name], field.metadata.get("within")),
                _default_text(field),
                field.metadata.get("decides", "result"),
                meaning,
            )
        )
    return made


def _table(own: list[Row]) -> str:
    return table(
        HEADER,
        (
            (code(r.name), cell(r.type), code(r.default), r.decides, _linked(r.meaning))
            for r in own
        ),
    )


def _linked(text: str) -> str:
    """Plain text, in which what is cited of method.md is a link."""
    return re.sub(
        r"docs/method\.md, ([A-Z]\w*(?: [a-z]\w*)*)",
        lambda cited: f"[method.md, {cited[1]}](method.md#{_anchor(cited[1])})",
        cell(text),
    )


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _section_in(hint: Any) -> type | None:
    """The dataclass that a field holds, maybe optionally."""
    for option in (hint, *typing.get_args(hint)):
        if dataclasses.is_dataclass(option) and isinstance(option, type):
            return option
    return None


def _type_text(hint: Any, within: Any) -> str:
    """Words for a type, with its bounds or the words that it may be."""
    if isinstance(within, tuple):
        return _or_none(hint, f"one of {', '.join(within)}")
    text = _hint_text(hint)
    return f"{text}, in {within}" if within else text


def _or_none(hint: Any, text: str) -> str:
    return f"{text}, or none" if type(None) in typing.get_args(hint) else text


def _hint_text(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [_hint_text(arg) for arg in args if arg is not type(None)]
        return _or_none(hint, " or ".join(inner))
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin is tuple and args[1:] == (Ellipsis,):
        return f"list of {_hint_text(args[0])}"
    if origin is tuple:
        return f"[{', '.join(map(_hint_text, args))}]"
    if origin is not None and issubclass(origin, Mapping):
        return f"{_hint_text(args[1])} by name"
    return {bool: "true or false", str: "text"}.get(hint, hint.__name__)


def _default_text(field: dataclasses.Field) -> str:
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return ""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)
