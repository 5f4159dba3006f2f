"""The fingerprint of what a run trains on."""

import hashlib
import json
from pathlib import Path
from typing import Any

from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.data.prepared import PreparedSessions
from anchoredit_jax.strict import plain

# What decides sprites that are made on demand; how they are batched is the plan's.
_SHARED = (
    "seed", "size", "turns", "null_fraction", "skip_turns", "skip_probability",
)  # fmt: skip


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
    made = plain(data)
    settings = {**{name: made[name] for name in _SHARED}, **made["sprites"]}
    if data.drop_fraction:
        settings["drop_fraction"] = data.drop_fraction
    return _digest(settings)


def _digest(values: Any) -> str:
    told = json.dumps(values, sort_keys=True).encode()
    return hashlib.blake2b(told, digest_size=8).hexdigest()
