"""Steering a run: what may change when it goes on, and how that is kept.

A change is recorded in every later checkpoint and in the lineage: the step that it was
made behind, and the old and new value of every setting. The state goes on as it is.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anchoredit_jax.config import deciding_values, run_from_json
from anchoredit_jax.data.kinds import fingerprint
from anchoredit_jax.data.legs import Leg, leg_of, place_behind
from anchoredit_jax.data.session_batches import leg_behind
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import Codec
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.strict import OF_THE_WEIGHTS
from anchoredit_jax.training.content import NAMES

FLAG = "--change"
CONTENT = "content."  # before the name of what a digest is of
_DATA = "sessions"  # the content that may change without a setting of its own

Settings = dict[str, list[Any]]  # name -> [old value, new value]


@dataclasses.dataclass(frozen=True)
class History:
    """What a run was trained with, up to now.

    Attributes:
      changes: {"step": steps done before it, "settings": name -> [old, new]}, in order.
      legs: how its batches were taken, see `data/legs.py`.
      back: the step that it was last taken back to, see `going_back.py`.
    """

    changes: tuple[dict[str, Any], ...] = ()
    legs: tuple[Leg, ...] = ()
    back: int | None = None

    def to_meta(self) -> dict[str, Any]:
        """What a checkpoint says of it."""
        return {
            "changes": list(self.changes),
            "legs": [leg.to_dict() for leg in self.legs],
            "back": self.back,
        }


def begin(run: RunConfig) -> History:
    """The history of a run at step 0."""
    return History(legs=(leg_of(0, run.data),))


def go_on(
    run: RunConfig,
    content: Mapping[str, str],
    codec: Codec,
    meta: Mapping[str, Any],
    folder: Path,
    change: bool = False,
    from_step: int | None = None,
) -> History:
    """The history of a run that goes on from a checkpoint, this start included.

    Args:
      run, content, codec: what it goes on with.
      meta: of the checkpoint.
      folder: of the stage, for messages.
      change: whether the result may be another than it would have been.
      from_step: the step that was asked for, if any.

    Raises:
      UserError: something differs that may not; it names both values.
    """
    saved = run_from_json(meta["config"])
    theirs = meta.get("content") or {}
    settings = differing(run, saved)
    geometry = {
        name: settings[name] for name in settings if name in _of_weights(run, saved)
    }
    others = {
        name: [digest, content[name]]
        for name, digest in theirs.items()
        if content.get(name, digest) != digest
    }
    step = meta["step"]
    if geometry:
        raise UserError(
            f"{folder} holds a run of another configuration (differs in "
            f"{told(geometry)}), and what weights mean may not change: use the same "
            "configuration, or another --workdir"
        )
    fixed = [name for name in others if name != _DATA and not _set(name, settings)]
    if fixed or (others and not settings and not change):
        name = (fixed or [*others])[0]
        raise UserError(
            f"{folder} was trained with another {name} (digest {others[name][0]}, now "
            f"{others[name][1]}; see {NAMES[name]}): the path may be another one, what "
            "lies there must be the same"
            + (f"; {FLAG} goes on with it from step {step}" if not fixed else "")
        )
    if settings and not change:
        raise UserError(
            f"{folder} holds a run of another configuration (differs in "
            f"{told(settings)}): add {FLAG} to go on with it from step {step}, use the "
            "same configuration, or start from its weights in another --workdir, with "
            f"--parent {folder}"
        )
    settings |= {f"{CONTENT}{name}": pair for name, pair in others.items()}
    changes = tuple(meta.get("changes", ()))
    if settings:
        changes += ({"step": step, "settings": settings},)
    back = step if from_step == step else meta.get("back")
    return History(changes, _legs(run, saved, codec, meta), back)


def differing(run: RunConfig, saved: RunConfig) -> Settings:
    """Dotted name -> [saved value, value of `run`] of what decides the result."""
    ours, theirs = (
        json.loads(json.dumps(deciding_values(one))) for one in (run, saved)
    )
    return {
        name: [theirs.get(name), ours.get(name)]
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    }


def _of_weights(*runs: RunConfig) -> set[str]:
    """Names of the settings that decide what weights are."""
    return {name for run in runs for name in deciding_values(run, OF_THE_WEIGHTS)}


def told(settings: Mapping[str, Sequence[Any]]) -> str:
    """All settings with both values, in words."""
    return ", ".join(
        f"{name}: {json.dumps(old)}, now {json.dumps(new)}"
        for name, (old, new) in settings.items()
    )


def _set(content: str, settings: Mapping[str, Any]) -> bool:
    """Whether settings of a codec or text encoder differ, which are in its digest."""
    section = NAMES[content].partition(".")[0]
    return any(name.startswith(f"{section}.") for name in settings)


def _legs(
    run: RunConfig, saved: RunConfig, codec: Codec, meta: Mapping[str, Any]
) -> tuple[Leg, ...]:
    """The legs from this start on: none that nothing follows from any more."""
    now = leg_of(meta["step"], run.data)
    legs = tuple(Leg.from_dict(leg) for leg in meta.get("legs", ()))
    if not legs:  # from before legs were kept
        before = (meta.get("content") or {}).get(_DATA, now.fingerprint)
        known = before == now.fingerprint
        count = now.sessions if known else 0
        legs = (Leg(0, saved.data, before, count),)
    last = legs[-1]
    if last.same_samples(now) and last.data.batch == now.data.batch:
        return legs
    if now.data.kind != "sessions":
        return (dataclasses.replace(now, place=place_behind(last, now)),)
    if last.same_samples(now):
        return (*legs, now)
    if last.data.kind != "sessions":
        return (now,)
    # They lie where they lay at the last step, or the same ones where they lie now.
    for folder in (saved.data.sessions.path, run.data.sessions.path):
        data = dataclasses.replace(
            last.data, sessions=dataclasses.replace(last.data.sessions, path=folder)
        )
        try:
            there = fingerprint(data)
        except UserError:  # nothing is there
            continue
        if there == last.fingerprint:
            legs = (*legs[:-1], dataclasses.replace(last, data=data))
            return (leg_behind(legs, now, codec.stride, run.model.patch),)
    print(
        f"the sessions before this change are not in {saved.data.sessions.path!r} any "
        "more: what was shown of them is not known, and an epoch begins",
        file=sys.stderr,
    )
    return (now,)
