"""The scripts and configurations of the repository, where the package is installed too.

In a clone `benchmarks`, `configs` and `launch` stand beside the package. A wheel has
them in `anchoredit_jax/beside`, because a program that uses this package may have
modules of these names itself.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

CONFIGS = "configs"
_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The folder that has these three in it: the clone, or one in the wheel."""
    carried = _PACKAGE / "beside"
    return carried if carried.is_dir() else _PACKAGE.parent


def find_configuration(path: Path) -> Path | None:
    """The file that comes along under a path such as `configs/sprites.py`, if any."""
    found = root() / path
    return found if path.parent == Path(CONFIGS) and found.is_file() else None


def configurations() -> list[str]:
    """The paths of all configurations that come along, sorted."""
    return sorted(
        file.relative_to(root()).as_posix()
        for file in (root() / CONFIGS).glob("*.py")
        if "\ndef get_config(" in file.read_text(encoding="utf-8")
    )


@contextlib.contextmanager
def importable_to(file: Path) -> Iterator[None]:
    """Let one that comes along import its neighbours: `from configs import recipe`.

    The caller's own modules of this name are back at the end, and ours are gone.
    Other files import as they always do.
    """
    if not file.resolve().is_relative_to(root() / CONFIGS):
        yield
        return
    path, own = sys.path[:], _forget()
    sys.path.insert(0, str(root()))
    try:
        yield
    finally:
        sys.path[:] = path
        _forget()
        sys.modules.update(own)


def _forget() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == CONFIGS]
    return {name: sys.modules.pop(name) for name in names}
