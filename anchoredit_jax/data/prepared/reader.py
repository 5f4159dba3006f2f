"""Prepared sessions: random access to what `prepare` wrote.

Layout of a dataset's folder: `dataset.json` (what it holds, and its fingerprint),
`turns.npy`, `height.npy` and `width.npy` (a column each of all sessions, mapped and not
loaded; 0 turns: left out), `report.json`, and `parts/<number>/`, each a TFDS dataset
with its own report.
"""

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.record_files import open_records
from anchoredit_jax.errors import UserError

FORMAT = "anchoredit_jax sessions/1"
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
          UserError: there is no finished dataset.
        """
        self.folder = Path(folder)
        path = self.folder / "dataset.json"
        if not path.is_file():
            raise UserError(
                f"no prepared sessions in {str(folder)!r}: expected the --out of "
                "launch/prepare_data.py, finished"
            )
        about = json.loads(path.read_text())
        if about.get("format") != FORMAT:
            raise UserError(
                f"{str(path)!r} is of the format {about.get('format')!r}, expected "
                f"{FORMAT!r}: prepare the data again"
            )
        self.fingerprint: str = about["fingerprint"]
        self._parts: list[str] = about["parts"]
        self._ends = np.cumsum(about["sessions"])
        self.turns, self.height, self.width = (
            np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in COLUMNS
        )
        self._opened: dict[int, Any] = {}

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Session:
        if not 0 <= index < len(self):
            raise IndexError(f"session {index} of {len(self)}")
        part = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[part - 1]) if part else 0
        stored = self._part(part)[index - start]
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

    def name_keys(self) -> np.ndarray:
        """`key_of` the name of every session, uint64 [sessions]."""
        parts = [self.folder / "parts" / part / "keys.npy" for part in self._parts]
        return np.concatenate([np.load(path) for path in parts])

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
            folder = self.folder / "parts" / self._parts[part]
            found = next(iter(sorted(folder.glob("sessions/part/*/dataset_info.json"))))
            opened = open_records(found.parent).as_data_source(split="train")
            self._opened[part] = opened
        return self._opened[part]

    def __getstate__(self) -> dict[str, Any]:
        """Other processes open the files themselves."""
        return {**self.__dict__, "_opened": {}}
