"""Prepared sessions: random access to what `prepare` wrote.

Layout of a dataset's folder: `dataset.json` (what it holds, and its fingerprint),
`turns.npy`, `height.npy` and `width.npy` (a column each of all sessions, mapped and not
loaded; 0 turns: left out), `report.json`, and `parts/<number>/`, each a TFDS dataset
with its own report.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

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

    def keys(self) -> Iterator[tuple[int, np.ndarray]]:
        """Each part's first session, and uint64 hashes of its sessions' names."""
        for part, end in enumerate(self._ends.tolist()):
            keys = np.load(self._folder_of(part) / "keys.npy", mmap_mode="r")
            yield end - len(keys), keys

    def key_of(self, index: int) -> int:
        """The hash of a session's name."""
        part = int(np.searchsorted(self._ends, index, side="right"))
        keys = np.load(self._folder_of(part) / "keys.npy", mmap_mode="r")
        return int(keys[index - int(self._ends[part]) + len(keys)])

    def _folder_of(self, part: int) -> Path:
        return self.folder / "parts" / self._parts[part]

    def _part(self, part: int) -> Any:
        if part not in self._opened:
            folder = self._folder_of(part)
            found = next(iter(sorted(folder.glob("sessions/part/*/dataset_info.json"))))
            opened = open_records(found.parent).as_data_source(split="train")
            self._opened[part] = opened
        return self._opened[part]

    def __getstate__(self) -> dict[str, Any]:
        """Other processes open the files themselves."""
        return {**self.__dict__, "_opened": {}}
