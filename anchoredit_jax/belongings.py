"""What was written into a folder, so that nothing else in it is replaced or removed.

The folder's file `NAME` has the digests of all that was written there. A file that is
not named there, or that somebody has changed since, belongs to somebody else. A digest
is on the disk before its file is: a stop at any moment leaves nothing unknown.
"""

import hashlib
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from anchoredit_jax import files
from anchoredit_jax.errors import UserError

NAME = ".anchoredit.json"


class Belongings:
    """The files in a folder that were written through this class."""

    def __init__(self, folder: Path, advice: str):
        """
        Args:
          folder: it may be missing.
          advice: what a person should do about a folder with files of others.

        Raises:
          UserError: the folder is a file, or its list is damaged or no such list.
        """
        self.folder, self._advice = folder, advice
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{str(folder)!r} exists and is not a folder: {advice}")
        path = folder / NAME
        self._known = files.read_json(path, advice) if path.exists() else {}
        digests = self._known.values()
        if not all(isinstance(some, list) for some in digests):
            raise UserError(f"{str(path)!r} is no list of files: {advice}")

    def check(self, names: Collection[str] | None = None) -> None:
        """Refuse a folder in which something of others is in the way.

        Args:
          names: of files and folders that will be written or removed; None: all.

        Raises:
          UserError: it names the first of them.
        """
        if not self.folder.is_dir():
            return
        some = sorted(path.name for path in self.folder.iterdir())
        for name in some if names is None else sorted(names):
            if (found := self._foreign(self.folder / name)) is not None:
                raise UserError(
                    f"{str(self.folder)!r} holds other files "
                    f"({str(found.relative_to(self.folder))!r}), not written by this "
                    f"command or changed since: {self._advice}"
                )

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yields where to write a file, which then takes its place, see `appearing`.

        Args:
          name: relative to the folder, with "/".

        Raises:
          UserError: a file of others is in its place.
        """
        with files.appearing(self.folder / name) as temporary:
            yield temporary
            self.check([name])
            path = self.folder / name
            before = [_digest(path)] if path.exists() else []
            self._known[name] = [*before, _digest(temporary)]
            files.write_json(self.folder / NAME, self._known)

    def take(self, made: Path) -> None:
        """Copy all files of a folder to their places in this one, each with `writing`;
        then remove what was written here before and is not among them, but for what
        somebody changed since."""
        names = []
        for path in sorted(path for path in made.rglob("*") if path.is_file()):
            names.append(path.relative_to(made).as_posix())
            with self.writing(names[-1]) as place:
                shutil.copyfile(path, place)
        self._keep_only(names)

    def _keep_only(self, names: Collection[str]) -> None:
        for name in [name for name in self._known if name not in names]:
            if self._is_own(path := self.folder / name):
                path.unlink()
            del self._known[name]
        files.write_json(self.folder / NAME, self._known)

    def _foreign(self, path: Path) -> Path | None:
        """What belongs to others there, if anything does."""
        if path.name == NAME or files.is_passing(path):
            return None
        if path.is_dir() and not path.is_symlink():
            place = f"{path.relative_to(self.folder).as_posix()}/"
            if not any(name.startswith(place) for name in self._known):
                return path
            inside = map(self._foreign, sorted(path.iterdir()))
            return next((found for found in inside if found is not None), None)
        there = path.exists() or path.is_symlink()
        return path if there and not self._is_own(path) else None

    def _is_own(self, path: Path) -> bool:
        known = self._known.get(path.relative_to(self.folder).as_posix(), [])
        ours = path.is_file() and not path.is_symlink()
        return bool(known) and ours and _digest(path) in known


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
