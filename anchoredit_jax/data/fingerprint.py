"""The fingerprint of what a run trains on."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.data.prepared import PreparedSessions
from anchoredit_jax.files import blake2b


def fingerprint(data: DataConfig) -> str:
    """Prepared sessions: over all their contents. Sprites: over what makes them.

    Stored sprites: over the names and sizes of their files; a changed record of the
    same size is seen by the digests of the batches it is in.
    """
    if data.sessions is not None:
        return PreparedSessions(data.sessions.path).fingerprint
    if data.records is not None:
        folder = Path(data.records.path)
        files = [
            (str(path.relative_to(folder)), path.stat().st_size)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        return _digest(files)
    settings = dataclasses.asdict(data.sprite_source())
    if not data.drop_fraction:  # which is younger than the fingerprints of others
        del settings["drop_fraction"]
    return _digest(settings)


def _digest(values: Any) -> str:
    return blake2b(json.dumps(values, sort_keys=True).encode())
