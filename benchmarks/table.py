"""All figures as a page, with what a reader needs to repeat them."""

import contextlib
import datetime
import subprocess
from collections.abc import Sequence
from pathlib import Path

from anchoredit_jax.parallel.mesh import MeshConfig, make_mesh
from anchoredit_jax.reproducibility.environment import describe_environment

TITLE = "# Benchmarks"
ROOT = Path(__file__).resolve().parent.parent


def table(rows: Sequence[tuple[str, str]]) -> str:
    """A page in Markdown: machine, versions and commit above (command, its line)."""
    about = describe_environment(make_mesh(MeshConfig()))
    about |= {"commit": _commit(), "date": datetime.date.today().isoformat()}
    told = "\n".join(f"- {name}: {value}" for name, value in about.items() if value)
    lines = "\n".join(f"| `{command}` | {line} |" for command, line in rows)
    return f"{TITLE}\n\n{told}\n\n| command | result |\n| --- | --- |\n{lines}\n"


def is_our_table(path: Path) -> bool:
    """Whether a file begins as such a page does."""
    return path.read_bytes().startswith(TITLE.encode())


def _commit() -> str:
    """Of this clone, with "+" where files differ from it; "" where git cannot tell."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+"]
    with contextlib.suppress(FileNotFoundError):  # no git here
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return told.stdout.strip()
    return ""
