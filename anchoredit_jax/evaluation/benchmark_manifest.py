"""`benchmark.json`: what a built benchmark consists of, and whether it is still whole.

{"format": 1, "sessions": 2, "turns": 25, .., "sources": {id: {"sha256": ..}, ..}}
"""

import json
from collections.abc import Mapping
from pathlib import Path

from anchoredit_jax import files
from anchoredit_jax.errors import UserError

MANIFEST = "benchmark.json"
FORMAT = 1


def read_sources(root: str | Path) -> dict[str, str] | None:
    """Session -> sha256 of its image 0; None for a folder that was not built.

    Raises:
      UserError: the manifest cannot be read, or is of another format.
    """
    path = Path(root) / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_bytes())
        version, sources = manifest["format"], manifest["sources"]
        digests = {name: source["sha256"] for name, source in sources.items()}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{str(path)!r} is no manifest of a benchmark: remove it, or build the "
            "benchmark again"
        ) from error
    if version != FORMAT:
        raise UserError(
            f"{str(path)!r} is of format {version!r}, this version reads {FORMAT}: "
            "build the benchmark again"
        )
    return digests


def find_gone(root: str | Path, sources: Mapping[str, str]) -> list[str]:
    """A line for every session that is listed but is no longer a folder."""
    return [
        f"{name}: listed in {MANIFEST}, but gone"
        for name in sorted(sources)
        if not (Path(root) / name).is_dir()
    ]


def check_source(sources: Mapping[str, str], name: str, data: bytes) -> None:
    """Refuse an image 0 that is not the one that the benchmark was built with.

    Raises:
      UserError: the session is not listed, or the image was changed.
    """
    if name not in sources:
        raise UserError(f"not listed in {MANIFEST}")
    if sources[name] != files.sha256(data):
        raise UserError(f"image 0 is not the one listed in {MANIFEST}")
