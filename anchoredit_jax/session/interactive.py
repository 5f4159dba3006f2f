"""Editing by typed lines: an instruction, or a command.

a new hat       any line that does not begin with a command is an instruction
edit TEXT       an instruction that does; alone: the null instruction
undo [N]        go back one turn, or N
goto N          make turn N the current one; 0 is the source
branch NAME     go on under a new name; the branch so far stays
switch NAME     go on with another branch
save PATH       write the session of this branch into one file
help            show this list
quit            end
"""

import difflib
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from anchoredit_jax.errors import UserError, refusing_os_errors
from anchoredit_jax.session.branches import Branches
from anchoredit_jax.session.edit_session import OnStep
from anchoredit_jax.session.result_folder import write_turn

HELP = "\n".join((__doc__ or "").splitlines()[2:])
_USAGE = {
    "edit": "edit TEXT",
    "undo": "undo [N]",
    "goto": "goto N",
    "branch": "branch NAME",
    "switch": "switch NAME",
    "save": "save PATH",
    "help": "help",
    "quit": "quit",
}
# A single word, perhaps with a number: what a misspelt command looks like.
_LIKE_A_COMMAND = re.compile(r"[:/\\]?([a-z]+)( +[\w./-]*\d[\w./-]*)?", re.IGNORECASE)


def _no_bar(steps: int) -> AbstractContextManager[None]:
    return nullcontext()


class Prompt:
    """Carries out lines on someone's branches; turns are written as they are made.

    Attributes:
      branches: that are worked on.
      out: folder with one folder per branch, with a PNG per turn.
      say: takes what the user is told, a line at a time.
      bar: shows, while it is open, how far an edit of so many steps has come.
    """

    def __init__(
        self,
        branches: Branches,
        out: Path,
        say: Callable[[str], None],
        bar: Callable[[int], AbstractContextManager[OnStep | None]] = _no_bar,
    ):
        self.branches, self.out, self.say, self.bar = branches, out, say, bar
        self._write_turns()

    def run(self, lines: Iterable[str]) -> list[str]:
        """Carry out lines until "quit", the end, or Ctrl-C; empty ones do nothing.

        A line that is wrong changes nothing; what is wrong is said.

        Returns:
          what was wrong, a line each.
        """
        refused, lines, going_on = [], iter(lines), True
        while going_on:
            try:
                line = next(lines, "quit")
                going_on = self.take(line)
            except UserError as error:
                refused.append(str(error))
                self.say(f"error: {error}")
            except KeyboardInterrupt:
                self.say("stopped")
                break
        return refused

    def take(self, line: str) -> bool:
        """Carry out one line; whether to go on.

        Raises:
          UserError: a command that is unknown, incomplete or cannot be carried out.
        """
        line = line.strip()
        if not line:
            return True
        command, argument = split_line(line)
        branches = self.branches
        if command == "quit":
            return False
        if command == "help":
            self.say(HELP)
        elif command == "edit":
            with self.bar(branches.session.editor.steps) as on_step:
                branches.session.edit(argument, on_step=on_step)
            self._tell(self._write(branches.session.turn))
        elif command == "save":
            self._save(argument)
        elif command in ("branch", "switch"):
            getattr(branches, command)(argument)
            if command == "branch":
                self._write_turns()
            self._tell()
        else:
            getattr(branches.session, command)(_number(line, argument or "1"))
            self._tell()
        return True

    def _save(self, path: str) -> None:
        if Path(path).resolve().is_relative_to(self.out.resolve()):
            raise UserError(
                f"{path!r} lies in the folder of the results, which are replaced as a "
                "whole: choose another place"
            )
        self.branches.session.save(path)
        self.say(f"saved {path}")

    def _tell(self, path: Path | None = None) -> None:
        turn = self.branches.session.history[-1]
        what = "the source" if turn.instruction is None else repr(turn.instruction)
        where = "" if path is None else f" -> {path}"
        self.say(f"{self.branches.current}, turn {turn.number}: {what}{where}")

    def _write_turns(self) -> None:
        for turn in self.branches.session.history:
            self._write(turn.number)

    def _write(self, number: int) -> Path:
        folder = self.out / self.branches.current
        with refusing_os_errors(f"{str(folder)!r} cannot be written"):
            return write_turn(folder, self.branches.session.turns[number])


def split_line(line: str) -> tuple[str, str]:
    """(command, what follows it); an instruction is an "edit".

    Raises:
      UserError: a command with too much or too little behind it, or what looks like a
        misspelt one.
    """
    word, _, rest = line.partition(" ")
    command, rest = word.lower(), rest.strip()
    if command not in _USAGE:
        _refuse_misspelt(line)
        return "edit", line
    alone = command in ("help", "quit")
    needs = command in ("goto", "branch", "switch", "save")
    if (alone and rest) or (needs and not rest):
        raise _misused(line, command)
    if command in ("undo", "goto"):
        _number(line, rest or "1")
    words = len(rest.split())
    sentence = words > 1 and not (command == "save" and Path(rest).suffix)
    if command in ("branch", "switch", "save") and sentence:
        raise _misused(line, command)
    return command, rest


def _refuse_misspelt(line: str) -> None:
    found = _LIKE_A_COMMAND.fullmatch(line)
    if found is None:
        return
    near = difflib.get_close_matches(found[1].lower(), _USAGE, n=1, cutoff=0.74)
    if near or not line[0].isalpha():
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UserError(
            f"unknown command {line!r}: {hint}'help' lists all; if it is an "
            f"instruction, write: edit {line}"
        )


def _number(line: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise _misused(line, line.split()[0].lower())
    return int(text)


def _misused(line: str, command: str) -> UserError:
    return UserError(
        f"{line!r} is not '{_USAGE[command]}'; if it is an instruction, write: "
        f"edit {line}"
    )
