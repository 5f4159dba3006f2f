"""Samplers by their short form on a command line and in a report."""

import dataclasses
import re

from anchoredit_jax.diffusion.samplers import SamplerConfig, check_negative
from anchoredit_jax.errors import UserError


def parse_sampler(text: str, default: SamplerConfig) -> SamplerConfig:
    """Read a sampler that is written as "kind:steps[:option=value...]".

    Examples: "few_step:4", "euler:20:guidance=1.5", "euler:20:guidance=1.5:shift=3",
    "few_step:4:timesteps=1000/750/500/250", "euler:50:guidance=5:negative=blurry". The
    negative text comes last: all that follows belongs to it.

    Args:
      default: the checkpoint's `SamplerConfig`; its shift, and with guidance its
        negative text, are kept unless given. Steps and timesteps must be given,
        guidance is 1 (none) unless given.

    Raises:
      UserError: for an unknown kind or option, a value that is no number, or a negative
        text without guidance.
    """
    short, negative_given, negative = text.strip().partition(":negative=")
    kind, *rest = short.split(":")
    usage = f"sampler {text!r}: write kind:steps[:option=value], as in few_step:4 or"
    usage += " euler:20:guidance=1.5"
    if kind not in ("few_step", "euler"):
        raise UserError(f"{usage}; known kinds: few_step, euler")
    if not rest or not re.fullmatch(r"[1-9]\d*", rest[0]):
        raise UserError(f"{usage}; the number of steps must be 1 or more")
    values = {"kind": kind, "steps": int(rest[0]), "guidance": 1.0, "timesteps": None}
    readers = {"guidance": _number, "shift": _number, "timesteps": _numbers}
    seen = set()
    for part in rest[1:]:
        name, equals, value = part.partition("=")
        if not equals or name not in readers:
            raise UserError(f"{usage}; known options: {', '.join(readers)}, negative")
        if name in seen:
            raise UserError(f"{usage}; option {name} is given twice")
        seen.add(name)
        values[name] = readers[name](name, value)
    listed = values["timesteps"]
    if listed is not None and len(listed) != values["steps"]:
        raise UserError(
            f"sampler {text!r} has {values['steps']} steps and {len(listed)} timesteps"
        )
    if negative_given:
        values["negative"] = negative
    elif values["guidance"] == 1:
        values["negative"] = ""
    return check_negative(dataclasses.replace(default, **values))


def sampler_title(sampler: SamplerConfig, default: SamplerConfig) -> str:
    """The short form from which `parse_sampler` reads the sampler back."""
    parts = [sampler.kind, str(sampler.steps)]
    if sampler.guidance != 1:
        parts.append(f"guidance={sampler.guidance:g}")
    if sampler.shift != default.shift:
        parts.append(f"shift={sampler.shift:g}")
    if sampler.timesteps is not None:
        parts.append("timesteps=" + "/".join(f"{t:g}" for t in sampler.timesteps))
    if sampler.negative != default.negative and sampler.guidance != 1:
        parts.append(f"negative={sampler.negative}")
    return ":".join(parts)


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise UserError(f"sampler {name}={value!r} is not a number") from error
    if not 0 <= number < float("inf"):
        raise UserError(f"sampler {name}={value!r} must be a finite number from 0 up")
    return number


def _numbers(name: str, value: str) -> tuple[float, ...]:
    return tuple(_number(name, part) for part in value.split("/"))
