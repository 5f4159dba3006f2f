"""Configurations as earlier versions stored them, read as today's.

Checkpoints, weights files and sessions keep their configuration as JSON. Where
a key has moved, `modernise` moves it; what is new takes its default.
"""

from collections.abc import Mapping
from typing import Any

from anchoredit_jax.errors import UserError

# Section -> kind -> fields that stood in the section itself and are the kind's now.
_OF_KIND = {
    "codec": {"patch": ("stride",), "wan_vae": ("weights", "size", "tile", "dtype")},
    "text": {"ngram": ("seed",), "umt5": ("folder", "size", "dtype", "batch")},
}


def modernise(config: Mapping[str, Any]) -> dict[str, Any]:
    """Nested plain values of a stored configuration -> those of today's layout.

    One of today's layout comes back as it is.

    Raises:
      UserError: the values are not nested as any version had them.
    """
    try:
        return _modernise(config)
    except (AttributeError, LookupError, TypeError) as error:
        raise UserError(f"the stored configuration is damaged: {error}") from error


def _modernise(config: Mapping[str, Any]) -> dict[str, Any]:
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
    if "name" in config.get("data", {}):
        config["data"] = _data_of_a_kind(config["data"])
    if config.get("stage") == "single_turn" and "options" in config:
        config["options"].setdefault("from_scratch", True)  # all could
    if "critic_learning_rate" in config.get("options", {}):
        _modernise_distribution_matching(config)
    return config


def _data_of_a_kind(old: Mapping[str, Any]) -> dict[str, Any]:
    """The section `data` from before its kinds had sections of their own."""

    def taken(*names: str) -> dict[str, Any]:
        return {name: old[name] for name in names if name in old}

    sessions = dict(old.get("sessions") or {})
    workers = sessions.pop("workers", 0)
    data = {**taken("size", "turns", "batch", "seed"), "workers": workers}
    if old["name"] == "sessions":
        # Neither null turns nor gaps: the first turns of every session were seen.
        layout = "pairs" if old.get("turns", 1) == 1 else "chain"
        sessions = {**sessions, "layout": layout}
        unread = {"null_fraction": 0.0, "skip_probability": 0.0}
        return {**data, **unread, "kind": "sessions", "sessions": sessions}
    if old.get("records"):
        return {**data, "kind": "records", "records": {"path": old["records"]}}
    made = taken("null_fraction", "skip_turns", "skip_probability")
    sprites = taken("weights", "layout", "length")
    return {**data, **made, "kind": "sprites", "sprites": sprites}


# Of the generator's optimizer, fields that were the critic's too.
_OF_CRITIC = ("warmup", "b1", "b2", "eps", "weight_decay", "clip", "mu_dtype")


def _modernise_distribution_matching(config: dict[str, Any]) -> None:
    """The generator's sampler is the run's, the critic has settings of its own, and
    lengths are loop steps: the generator's were its updates."""
    options, optimizer = config["options"], config.setdefault("optimizer", {})
    sampler = config.setdefault("sampler", {})
    sampler |= dict(kind="few_step", guidance=1.0)
    for field, name in (
        ("steps", "sampler_steps"), ("shift", "sampler_shift"),
        ("timesteps", "timesteps"), ("snap_shift", "snap_shift"),
    ):  # fmt: skip
        if name in options:
            sampler[field] = options.pop(name)
    critic = {name: optimizer[name] for name in _OF_CRITIC if name in optimizer}
    options["critic"] = dict(critic, learning_rate=options.pop("critic_learning_rate"))
    for length in ("steps", "warmup"):
        if length in optimizer:
            optimizer[length] *= options.get("critic_ratio", 5)
