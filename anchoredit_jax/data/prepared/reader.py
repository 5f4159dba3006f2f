"""Prepared sessions: random access to what `prepare` wrote.

Layout of a dataset's folder: `dataset.json` (what it holds, its fingerprint and its
files), `turns.npy`, `height.npy`, `width.npy` and `checks.npy` (a column each of all
sessions, mapped and not loaded; 0 turns: left out), `report.json`, and `parts/<name>/`,
each a TFDS dataset with its own report.

All files are checked when a dataset is opened, see `seals`, and every session when it
is read. Datasets of former versions have fewer checks: no part may be missing.
"""

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from anchoredit_jax import files
from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.record_files import open_records
from anchoredit_jax.data.seals import check_files, check_sealed, reading
from anchoredit_jax.errors import UserError

ABOUT = "dataset.json"
FORMAT = "anchoredit_jax sessions/2"
FORMER = "anchoredit_jax sessions/1"  # without lists of files and check sums
RECORDS = ".array_record"  # in the names of record files
CHECKS = "checks"  # the column of `check_of`
COLUMNS = {"turns": np.uint8, "height": np.uint16, "width": np.uint16}


@dataclasses.dataclass(frozen=True)
class Session:
    """A stored session, its images as encoded files.

    Attributes:
      key: its name in the source.
      images: T encoded files.
      instructions: language -> N texts.
    """

    key: str
    images: tuple[bytes, ...]
    instructions: Mapping[str, tuple[str, ...]]

    @property
    def turns(self) -> int:
        return len(self.images) - 1


def check_of(
    key: str, images: Sequence[bytes], instructions: Mapping[str, Sequence[str]]
) -> int:
    """CRC-32 of a session."""
    told = [key, [len(data) for data in images], list(instructions.items())]
    value = crc32(json.dumps(told).encode())
    for data in images:
        value = crc32(data, value)
    return value


class PreparedSessions:
    """Sessions by index, 0 .. len - 1; read when asked for, in any process.

    Attributes:
      folder: the folder of the dataset.
      fingerprint: a digest of every session's name, images and texts, in order.
      turns, height, width: columns of all sessions, the size that of the source image.
    """

    def __init__(self, folder: str | Path):
        """
        Raises:
          UserError: there is no finished dataset, or a file of it is missing or
            damaged.
        """
        self.folder = Path(folder)
        path = self.folder / ABOUT
        if not path.is_file():
            raise UserError(
                f"no prepared sessions in {str(folder)!r}: expected the --out of "
                "launch/prepare_data.py, finished"
            )
        about = files.read_json(path, self._advice)
        if about.get("format") not in (FORMAT, FORMER):
            raise UserError(
                f"{str(path)!r} is of the format {about.get('format')!r}, expected "
                f"{FORMAT!r}: prepare the data again"
            )
        with reading(repr(str(path)), self._advice):
            self._check(about)
            self.fingerprint: str = about["fingerprint"]
            self._parts: list[str] = about["parts"]
            self._ends = np.cumsum(np.array(about["sessions"], np.int64))
        self.turns, self.height, self.width = map(self._column, COLUMNS)
        checked = about["format"] == FORMAT
        self._checks = self._column(CHECKS) if checked else None
        self._opened: dict[int, Any] = {}

    @property
    def _advice(self) -> str:
        return (
            "run launch/prepare_data.py again with this folder as --out, which makes "
            "what is damaged anew"
        )

    def _check(self, about: Mapping[str, Any]) -> None:
        """Refuse a dataset of which something is not there.

        Raises:
          UserError: it names the file.
        """
        parts = self.folder / "parts"
        if about["format"] == FORMAT:
            check_sealed(about, self.folder / ABOUT, self._advice)
            check_files(self.folder, about["columns"], self._advice)
            for name in about["parts"]:
                check_files(parts / name, about["files"][name], self._advice)
            return
        for name in about["parts"]:
            found = self._records(name)
            if not any(RECORDS in path.name for path in found.iterdir()):
                raise UserError(f"{str(found)!r} has no records: {self._advice}")

    def _records(self, part: str) -> Path:
        """The TFDS dataset of a part."""
        folder = self.folder / "parts" / part
        found = sorted(folder.glob("sessions/part/*/dataset_info.json"))
        if not found:
            raise UserError(
                f"the part {str(folder)!r} is missing or has no records: {self._advice}"
            )
        return found[0].parent

    def _column(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        with reading(repr(str(path)), self._advice):
            column = np.load(path, mmap_mode="r")
            if column.shape != (len(self),):
                raise ValueError(f"{list(column.shape)} values of {len(self)} sessions")
        return column

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Session:
        if not 0 <= index < len(self):
            raise IndexError(f"session {index} of {len(self)}")
        part = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[part - 1]) if part else 0
        folder = self.folder / "parts" / self._parts[part]
        what = f"session {index - start} of {str(folder)!r}"
        advice = f"remove the folder {str(folder)!r} and {self._advice}"
        with reading(what, advice):
            session = _read(self._part(part)[index - start])
            if self._checks is not None:
                found = check_of(session.key, session.images, session.instructions)
                if found != self._checks[index]:
                    raise ValueError("its check sum is another")
        return session

    def keys(self) -> Iterator[tuple[int, np.ndarray]]:
        """Each part's first session, and uint64 hashes of its sessions' names."""
        for part, end in enumerate(self._ends.tolist()):
            keys = np.load(self._folder_of(part) / "keys.npy", mmap_mode="r")
            yield end - len(keys), keys

    def _folder_of(self, part: int) -> Path:
        return self.folder / "parts" / self._parts[part]

    def name_keys(self) -> np.ndarray:
        """`key_of` the name of every session, uint64 [sessions]."""
        return np.concatenate([keys for _, keys in self.keys()])

    def numbers_of(self, names: Collection[str]) -> list[int]:
        """The numbers of sessions, by their names.

        Raises:
          UserError: a name that no session has.
        """
        wanted = {key_of(name): name for name in names}
        if not wanted:
            return []
        keys = self.name_keys()
        places = np.flatnonzero(np.isin(keys, np.array([*wanted], np.uint64))).tolist()
        there = {int(keys[place]) for place in places}
        missing = [name for key, name in wanted.items() if key not in there]
        if missing:
            raise UserError(
                f"no session of {str(self.folder)!r} is named {missing[0]!r}"
                + (f", nor {len(missing) - 1} more" if missing[1:] else "")
            )
        return places

    def _part(self, part: int) -> Any:
        if part not in self._opened:
            records = open_records(self._records(self._parts[part]))
            opened = records.as_data_source(split="train")
            if len(opened) != self._ends[part] - (self._ends[part - 1] if part else 0):
                raise ValueError(f"it has {len(opened)} records")
            self._opened[part] = opened
        return self._opened[part]

    def __getstate__(self) -> dict[str, Any]:
        """Other processes open the files themselves."""
        return {**self.__dict__, "_opened": {}}


def _read(stored: Mapping[str, Any]) -> Session:
    turns = int(stored["turns"])
    texts = [text.decode() for text in stored["instructions"]]
    languages = [text.decode() for text in stored["languages"]]
    return Session(
        stored["key"].decode(),
        tuple(stored["images"]),
        {
            language: tuple(texts[i * turns : (i + 1) * turns])
            for i, language in enumerate(languages)
        },
    )
