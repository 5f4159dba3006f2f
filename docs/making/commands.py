"""The command reference: every flag of every script of launch/."""

import argparse
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from docs.making.tables import NOTE, cell, code, table

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
INTRO = """# Command reference

Every command and its flags, as `--help` tells them. All of them end by the exit codes
of [one table](exit_codes.md), say a mistake in one line on stderr, and take
`--verbose`, which shows what libraries log. *The reference* is the original
implementation in PyTorch ([what differs](differences.md)).
"""
HEADER = ("flag", "default", "meaning")
SHELL = ("quickstart.sh", "rehearsal.sh", "test.sh")


class _Caught(Exception):
    """A script asked its parser to parse."""

    def __init__(self, parser: argparse.ArgumentParser):
        super().__init__()
        self.parser = parser


def scripts() -> list[Path]:
    """The scripts of launch/ that are commands, by name."""
    return sorted(
        path for path in LAUNCH.glob("*.py") if "__main__" in path.read_text()
    )


def parser_of(script: Path) -> argparse.ArgumentParser:
    """The parser of a script, which is stopped where it begins to parse."""

    def catch(parser: argparse.ArgumentParser, *_, **__) -> None:
        raise _Caught(parser)

    spec = importlib.util.spec_from_file_location(f"launch_{script.stem}", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with (
        mock.patch.dict(os.environ),  # some choose a platform as they are imported
        mock.patch.object(sys, "path", [*sys.path]),
        mock.patch.object(argparse.ArgumentParser, "parse_known_args", catch),
    ):
        spec.loader.exec_module(module)
        try:
            module.main([])
        except _Caught as caught:
            return caught.parser
    raise TypeError(f"{script.name} has no parser of argparse")


def page() -> str:
    """The page in Markdown."""
    parts = [NOTE, INTRO]
    for script in scripts():
        parser = parser_of(script)
        parts.append(f"\n## {script.name}\n\n```text\n{_said(parser)}\n```\n")
        parts += _flags(parser)
        for name, command in commands_of(parser):
            parts.append(f"\n### {script.name} {name}\n\n{cell(_said(command))}\n")
            parts += _flags(command)
    for name in SHELL:
        parts.append(f"\n## {name}\n\n```text\n{_comment(LAUNCH / name)}\n```\n")
    return "".join(parts)


def commands_of(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Name and parser of each command that a script has."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def flags_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The flags and arguments, but for those that all have."""
    common = {"--help", "--verbose"}
    return [
        action
        for action in parser._actions
        if not common & set(action.option_strings)
        and not isinstance(action, argparse._SubParsersAction)
    ]


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    rows = [
        (code(_written(action)), code(_default(action)), cell(_meaning(parser, action)))
        for action in flags_of(parser)
    ]
    return ["\n", table(HEADER, rows)] if rows else []


def _said(parser: argparse.ArgumentParser) -> str:
    return inspect.cleandoc(parser.description or "")


def _written(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings)
    if action.nargs == 0:
        return name
    words = action.metavar or (action.dest.upper() if name else action.dest)
    if action.choices is not None:
        words = "{" + ",".join(map(str, action.choices)) + "}"
    return f"{name} {words}".strip()


def _default(action: argparse.Action) -> str:
    value = action.default
    if value is None or value is False or value in (argparse.SUPPRESS, "", []):
        return ""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.removeprefix(f"{LAUNCH.parent}{os.sep}")  # as seen from the clone


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    told = (action.help or "") % dict(vars(action), prog=parser.prog)
    told = told.replace(f"(default: {_default(action)})", "")  # it has a column
    notes = []
    if action.required and action.option_strings:
        notes.append("needed")
    if isinstance(action, argparse._AppendAction):
        notes.append("may be repeated")
    notes = [note for note in notes if note not in told]
    return f"{told} ({', '.join(notes)})".strip() if notes else told


def _comment(script: Path) -> str:
    """The comment at the top of a shell script."""
    lines = []
    for line in script.read_text().splitlines()[1:]:
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)
