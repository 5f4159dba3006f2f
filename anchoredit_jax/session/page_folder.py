"""The folder of a page's temporary files: its owner's alone, and gone at the end.

A page that was killed cannot remove its own. The next one does: a folder that no page
has locked is of one that is gone.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from anchoredit_jax.errors import UserError

PREFIX = "anchoredit_page_"
_LOCK = "lock"


@contextlib.contextmanager
def page_folder(place: str | os.PathLike | None = None) -> Iterator[Path]:
    """Yields a new folder of mode 0700, after the remains of killed pages are removed.

    Args:
      place: where to make it; None is the system's place for temporary files.

    Raises:
      UserError: nothing can be written there.
    """
    try:
        root = Path(place or tempfile.gettempdir())
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))  # of mode 0700
    except OSError as error:
        raise UserError(
            f"no temporary folder can be made ({error}): set TMPDIR to one of your own"
        ) from error
    with FileLock(folder / _LOCK):
        try:
            _remove_remains(root)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_remains(root: Path) -> None:
    for folder in root.glob(f"{PREFIX}*"):
        with contextlib.suppress(Timeout, OSError):  # one that runs; or gone meanwhile
            found = folder.lstat()
            if found.st_uid != os.getuid() or not (folder / _LOCK).is_file():
                continue
            with FileLock(folder / _LOCK, blocking=False):
                shutil.rmtree(folder)
