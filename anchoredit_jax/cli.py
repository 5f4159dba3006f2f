"""The command `anchoredit` of an installed package: the scripts of launch/ by name.

Only the script that is asked for is imported, so that each starts as fast as it can.
"""

import ast
import importlib
import sys
from collections.abc import Sequence

from anchoredit_jax import shipped
from anchoredit_jax.errors import UserError, exit_on_user_error
from anchoredit_jax.strict import unknown_name
from anchoredit_jax.version import __version__

# Of the command -> of the script.
COMMANDS = {
    "edit": "edit",
    "app": "app",
    "prepare": "prepare_data",
    "train": "train",
    "curriculum": "curriculum",
    "watch": "watch",
    "evaluate": "evaluate",
    "build-benchmark": "build_benchmark",
    "convert": "convert",
    "plan": "plan",
    "reproduce": "reproduce",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command on what follows its name, with the exit codes of its script."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(f"anchoredit_jax {__version__}")
    elif name in COMMANDS:
        _run(name, rest)
    else:
        with exit_on_user_error():
            raise UserError(unknown_name(f"command '{name}'", name, COMMANDS))


def _run(name: str, arguments: Sequence[str]) -> None:
    sys.path.insert(0, str(shipped.root()))  # scripts import one another
    script = importlib.import_module(f"launch.{COMMANDS[name]}")
    script.__doc__ = _as_commands(script.__doc__ or "")
    sys.argv[0] = f"anchoredit {name}"  # what its help and its mistakes call it
    script.main(arguments)


def _help() -> str:
    rows = "\n".join(f"  {name:<17}{_summary(name)}" for name in COMMANDS)
    return f"""usage: anchoredit COMMAND [FLAGS]

Multi-turn image editing; anchoredit COMMAND --help says more of each:

{rows}

Where a message says launch/NAME.py, it is the command of that name that is meant;
launch/prepare_data.py is anchoredit prepare. These configurations come along:

  {" ".join(shipped.configurations())}"""


def _summary(name: str) -> str:
    """The first line of the script, which is not imported for it."""
    file = shipped.root() / "launch" / f"{COMMANDS[name]}.py"
    told = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return _as_commands(told.partition("\n")[0])


def _as_commands(text: str) -> str:
    for name, script in COMMANDS.items():
        text = text.replace(f"python launch/{script}.py", f"anchoredit {name}")
    return text
