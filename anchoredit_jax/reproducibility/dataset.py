"""The fingerprint of what a run trains on."""

import json
from pathlib import Path

from anchoredit_jax.config import RunConfig
from anchoredit_jax.data.prepared import PreparedSessions
from anchoredit_jax.reproducibility.certificate import digest_bytes

# What decides sprites that are made on demand; how they are batched is the plan's.
_SPRITES = (
    "seed", "size", "turns", "weights", "null_fraction", "layout", "skip_turns",
    "skip_probability", "length",
)  # fmt: skip


def fingerprint(run: RunConfig) -> str:
    """Prepared sessions: over all their contents. Sprites: over what makes them.

    Stored sprites: over the names and sizes of their files; a changed record of the
    same size is seen by the digests of the batches it is in.
    """
    data = run.data
    if data.name == "sessions":
        return PreparedSessions(data.sessions.path).fingerprint
    if data.records is not None:
        folder = Path(data.records)
        files = [
            (str(path.relative_to(folder)), path.stat().st_size)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        return digest_bytes(json.dumps(files).encode())
    made = run.to_dict()["data"]
    settings = {name: made[name] for name in _SPRITES}
    return digest_bytes(json.dumps(settings, sort_keys=True).encode())
