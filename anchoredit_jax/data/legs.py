"""The legs of a run: what it takes its batches from, from which step on.

A run that is steered changes its batch or its data between two steps. Which sessions a
step shows then follows from the legs, and from nothing else (docs/method.md, Steering).
"""

import base64
import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.data.kinds import KINDS, fingerprint
from anchoredit_jax.data.prepared import PreparedSessions
from anchoredit_jax.strict import build_dataclass, plain


@dataclasses.dataclass(frozen=True)
class Leg:
    """Steps in a row that take their batches in one way.

    Attributes:
      step: how many steps were done before it.
      data: the settings.
      fingerprint: of what they name.
      sessions: how many there are; 0: unknown.
      place: of procedural or stored sessions, the one that it begins with.
      epoch: of prepared ones, the epoch that it begins in.
      gone: those that are left out in that epoch, as `packed`; "": none.
    """

    step: int
    data: DataConfig
    fingerprint: str
    sessions: int
    place: int = 0
    epoch: int = 0
    gone: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives back an equal leg."""
        return plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Leg":
        data = build_dataclass(DataConfig, values["data"], "data")
        return cls(**{**values, "data": data})

    def same_samples(self, other: "Leg") -> bool:
        """Whether both have the same samples under the same numbers."""
        ours, theirs = (
            (_samples_of(leg.data), leg.fingerprint) for leg in (self, other)
        )
        return ours == theirs


def leg_of(step: int, data: DataConfig) -> Leg:
    """The leg that begins behind `step` steps, with nothing shown before."""
    source = KINDS[data.kind].source(data)
    if source is None:
        source = PreparedSessions(data.sessions.path)
    return Leg(step, data, fingerprint(data), len(source))


def place_behind(before: Leg, leg: Leg) -> int:
    """The procedural or stored session that `leg` begins with, which follows."""
    if not before.sessions or before.data.kind != leg.data.kind:
        return 0
    shown = before.place + (leg.step - before.step) * before.data.batch
    return shown % before.sessions % leg.sessions


def packed(flags: np.ndarray) -> str:
    """Bool [n] in a few characters, eight to a byte and compressed."""
    return base64.b64encode(zlib.compress(np.packbits(flags).tobytes())).decode()


def unpacked(text: str, count: int) -> np.ndarray:
    """The bool [count] of `packed`."""
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.unpackbits(bits, count=count).astype(bool)


def _samples_of(data: DataConfig) -> DataConfig:
    """The settings that decide which samples there are, and their numbers."""
    changes: dict[str, Any] = dict(batch=1, workers=0, drop_fraction=0.0)
    if data.records is not None:
        changes["records"] = dataclasses.replace(data.records, path="")
    if data.sessions is not None:
        changes["sessions"] = dataclasses.replace(
            data.sessions, path="", cache=None, exclude=()
        )
    return dataclasses.replace(data, **changes)
