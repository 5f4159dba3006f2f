"""The kinds of data: what each is opened as, and the digest of what it holds.

Another kind is a module with its settings and its source, a field of `DataConfig` of
its name, and a line of `KINDS`.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.data.held_out_sessions import (
    HeldOutSession,
    of_prepared,
    of_sprites,
)
from anchoredit_jax.data.prepared import PreparedSessions
from anchoredit_jax.data.sprites.records import open_sprites
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import blake2b


class SessionSource(Protocol):
    """Random access to {"images": uint8 [T, H, W, 3], "instructions", "id"} and, where
    they are known, "answers" and "follows"; see `sprites/source.py`."""

    def __len__(self) -> int: ...

    def records(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several records at once."""
        ...


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of data.

    Attributes:
      source: config -> its sessions, by number; None for prepared ones, whose batches
        have a plan of their own (`session_batches.py`).
      fingerprint: config -> a digest of what decides a run's result. Paths do not, what
        lies there does.
      held_out: (config, codec, text encoder, patch, count, turns) -> sessions that no
        run on this data trains on, see `held_out_sessions`; None: there are none.
    """

    source: Callable[[DataConfig], SessionSource | None]
    fingerprint: Callable[[DataConfig], str]
    held_out: Callable[..., list[HeldOutSession]] | None = None


def fingerprint(data: DataConfig) -> str:
    """The digest of what a run trains on."""
    return KINDS[data.kind].fingerprint(data)


def open_stored_sprites(config: DataConfig) -> SessionSource:
    """The stored sprite sessions that a config names.

    Raises:
      UserError: they are missing, or of another size or number of turns.
    """
    path = config.records.path
    source = open_sprites(path)
    expected = (config.turns + 1, config.size, config.size, 3)
    found = source.records([0])[0]["images"].shape
    if found != expected:
        raise UserError(
            f"data.records.path {path!r} holds sessions of shape {found}; "
            f"data.turns {config.turns} and data.size {config.size} ask for {expected}"
        )
    return source


def _of_settings(data: DataConfig) -> str:
    """Sprites are what makes them."""
    settings = dataclasses.asdict(data.sprite_source())
    if not data.drop_fraction:  # which is younger than the fingerprints of others
        del settings["drop_fraction"]
    return _digest(settings)


def _of_files(data: DataConfig) -> str:
    """Over names and sizes; a changed record of the same size is seen by the digests of
    the batches it is in."""
    folder = Path(data.records.path)
    return _digest(
        [
            (str(path.relative_to(folder)), path.stat().st_size)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
    )


def _digest(values: Any) -> str:
    return blake2b(json.dumps(values, sort_keys=True).encode())


KINDS = {
    "sprites": Kind(DataConfig.sprite_source, _of_settings, of_sprites),
    "records": Kind(open_stored_sprites, _of_files, of_sprites),
    "sessions": Kind(
        lambda config: None,
        lambda config: PreparedSessions(config.sessions.path).fingerprint,
        of_prepared,
    ),
}
