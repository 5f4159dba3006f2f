"""Configurations as earlier versions stored them, read as today's.

Checkpoints, weights files and sessions keep their configuration as JSON. Where
a key has moved, `modernise` moves it; what is new takes its default.
"""

from collections.abc import Mapping
from typing import Any

# Section -> kind -> fields that stood in the section itself and are the kind's now.
_OF_KIND = {
    "codec": {"patch": ("stride",), "wan_vae": ("weights", "size", "tile", "dtype")},
    "text": {"ngram": ("seed",), "umt5": ("folder", "size", "dtype", "batch")},
}


def modernise(config: Mapping[str, Any]) -> dict[str, Any]:
    """Nested plain values of a stored configuration -> those of today's layout.

    One of today's layout comes back as it is.
    """
    config = {
        name: dict(section) if isinstance(section, Mapping) else section
        for name, section in config.items()
    }
    for name, kinds in _OF_KIND.items():
        section = config.get(name, {})
        for kind, fields in kinds.items():
            moved = {field: section.pop(field) for field in fields if field in section}
            if moved and section.get("kind", next(iter(kinds))) == kind:
                section[kind] = moved
    return config
