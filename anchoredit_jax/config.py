"""Reading a run's configuration: from files, and from what checkpoints store.

A config file has a function `get_config(arg)` that returns a `ConfigDict` with one
sub-dict per room. `run_from_dict` turns it into the frozen, hashable dataclasses of
`run_config.py` and refuses every key that is no field of the dataclass that reads it: a
misspelt key, and a key that nobody reads, end in the same one-line error. The JSON form
goes into checkpoints, lineage records and shipped weights, and reads back to an equal
value.
"""

import dataclasses
import functools
import importlib.util
import json
import logging
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from anchoredit_jax import shipped
from anchoredit_jax.config_history import modernise
from anchoredit_jax.errors import UserError
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.strict import (
    OF_THE_RESULT,
    build_dataclass,
    deciding,
    unknown_name,
)

log = logging.getLogger(__name__)
_PLAIN = ("stage", "seed")  # the fields of a run that are no sections


def run_from_dict(config: Mapping[str, Any] | ConfigDict) -> RunConfig:
    """Build from nested mappings; sections left out take their defaults.

    Raises:
      UserError: unknown stage, unknown key (with the nearest known one), a value of the
        wrong type, or a value that the section's dataclass refuses.
    """
    if isinstance(config, ConfigDict):
        config = config.to_dict()
    if not isinstance(config.get("stage"), str):
        raise UserError(
            "config: 'stage' must name a stage; known: " + ", ".join(STAGES)
        )
    sections = section_types(config["stage"])
    known = {field.name for field in dataclasses.fields(RunConfig)}
    for key in config:
        if key not in known:
            raise UserError(unknown_name(f"config key '{key}'", key, known))
    values: dict[str, Any] = {"stage": config["stage"]}
    seed = config.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"config key 'seed': expected int, given {seed!r}")
    values["seed"] = seed
    for name, section in sections.items():
        given = config.get(name)
        given = {} if given is None else given
        values[name] = build_dataclass(section, given, where=name)
    return RunConfig(**values)


def run_from_json(text: str) -> RunConfig:
    """What `RunConfig.to_json` wrote, in this version or an earlier one.

    Raises:
      UserError: a damaged text, or what `run_from_dict` refuses.
    """
    try:
        values = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"the stored configuration is no JSON: {error}") from error
    return run_from_dict(modernise(values))


def section_types(stage: str) -> dict[str, type]:
    """The dataclass of each section of a run of `stage`, by section name.

    Raises:
      UserError: no such stage.
    """
    if stage not in STAGES:
        raise UserError(unknown_name(f"stage '{stage}'", stage, STAGES))
    sections = typing.get_type_hints(RunConfig) | {"options": STAGES[stage].options}
    return {name: kind for name, kind in sections.items() if name not in _PLAIN}


def load_config(spec: str) -> RunConfig:
    """Read `path/to/config.py` or `path/to/config.py:key=value,key=value`.

    Raises:
      UserError: what `config_module` or `run_from_dict` refuses.
    """
    path, arg = split_spec(spec)
    module = config_module(path)
    if not callable(getattr(module, "get_config", None)):
        raise UserError(f"config file {str(path)!r} has no get_config(arg) function")
    return run_from_dict(module.get_config(arg))


def config_module(path: Path) -> ModuleType:
    """Run a configuration file.

    Where there is no `configs/sprites.py` here, that is the one that comes along with
    the package, which is told.

    Raises:
      UserError: no such file, or not one of Python.
    """
    found = path if path.is_file() else shipped.find_configuration(path)
    if found is None:
        raise UserError(
            f"config file {str(path)!r} does not exist, neither here nor among those "
            f"that come along: {', '.join(shipped.configurations())}"
        )
    if found is not path:
        _tell_once(path, found)
    spec = importlib.util.spec_from_file_location(path.stem, found)
    if spec is None or spec.loader is None:
        raise UserError(f"config file {str(path)!r} is not a Python file (*.py)")
    module = importlib.util.module_from_spec(spec)
    try:
        with shipped.importable_to(found):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"config file {str(path)!r}: {error}") from error
    return module


@functools.cache
def _tell_once(path: Path, found: Path) -> None:
    log.warning("%s: there is none here; taken: %s", path, found)


def split_spec(spec: str) -> tuple[Path, str | None]:
    """Split `file.py:arg` at the colon after the file name."""
    head, separator, arg = spec.partition(".py:")
    return (Path(head + ".py"), arg) if separator else (Path(spec), None)


def with_argument(spec: str, key: str, value: str) -> str:
    """The config spec `spec` with `key=value` added to its argument string.

    Raises:
      UserError: `key` is set in `spec` already.
    """
    path, arg = split_spec(spec)
    pairs = _pairs(arg)
    if any(pair.partition("=")[0].strip() == key for pair in pairs):
        raise UserError(f"leave '{key}=' out of --config here: it is set by itself")
    return f"{path}:" + ",".join([f"{key}={value}", *pairs])


def parse_arg(
    arg: str | None, defaults: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read "key=value,key=value" with the types of `defaults`.

    Keys with a dot ("data.batch=8") name a field of a section; they are returned
    apart, as parsed literals, for `override`. A default of None means a string.

    Returns:
      (arguments: `defaults` with the given values, overrides: dotted key -> value).

    Raises:
      UserError: a key that is not in `defaults`, is given twice, or does not parse.
    """
    arguments, overrides = dict(defaults), {}
    seen: set[str] = set()
    for pair in _pairs(arg):
        key, separator, text = (part.strip() for part in pair.partition("="))
        if not separator or not key:
            raise UserError(f"config argument {pair!r}: expected key=value")
        if key in seen:
            raise UserError(f"config argument '{key}' is given twice")
        seen.add(key)
        if "." in key:
            overrides[key] = _literal(text)
        elif key in defaults:
            arguments[key] = _typed(key, text, defaults[key])
        else:
            raise UserError(unknown_name(f"config argument '{key}'", key, defaults))
    return arguments, overrides


def override(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    """Set dotted keys in `config`, in place; unknown fields are refused later."""
    for dotted, value in overrides.items():
        section, _, field = dotted.partition(".")
        if not isinstance(config.get(section), ConfigDict):
            known = [key for key in config if isinstance(config[key], ConfigDict)]
            raise UserError(unknown_name(f"config section '{section}'", section, known))
        *parents, last = field.split(".")
        target = config[section]
        for parent in parents:
            if not isinstance(target.get(parent), ConfigDict):
                with target.unlocked():
                    target[parent] = ConfigDict()
            target = target[parent]
        with target.unlocked(), target.ignore_type():
            target[last] = value
    return config


def differing_keys(
    ours: RunConfig, other: RunConfig, decides: Sequence[str] = OF_THE_RESULT
) -> list[str]:
    """Dotted names of the fields in which two runs differ, sorted.

    Args:
      decides: what the fields decide, of the words of `strict`.
    """
    left, right = deciding_values(ours, decides), deciding_values(other, decides)
    missing = object()
    return sorted(
        key
        for key in left.keys() | right.keys()
        if left.get(key, missing) != right.get(key, missing)
    )


def deciding_values(
    run: RunConfig, decides: Sequence[str] = OF_THE_RESULT
) -> dict[str, Any]:
    """Dotted name -> plain value of the fields that decide these things."""
    told = {"stage": "result", "seed": "result"}
    for name, section in section_types(run.stage).items():
        told |= deciding(section, f"{name}.")

    def word(key: str) -> str | None:
        while key and key not in told:  # an item of a mapping
            key = key.rpartition(".")[0]
        return told.get(key)

    return {k: v for k, v in _flat(run.to_dict()).items() if word(k) in decides}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _pairs(arg: str | None) -> list[str]:
    """Split at commas, but not at those inside of square brackets."""
    pairs, depth = [""], 0
    for character in arg or "":
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            pairs.append("")
        else:
            pairs[-1] += character
    return [pair.strip() for pair in pairs if pair.strip()]


def _literal(text: str) -> Any:
    """A JSON literal or the text itself; the field's type says what "none" means."""
    if re.fullmatch(r"[+-]?\.\d.*", text):
        text = text.replace(".", "0.", 1)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _typed(key: str, text: str, default: Any) -> Any:
    if default is None or isinstance(default, str):
        return text
    value = _literal(text)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, bool):
        fits = isinstance(value, bool)
    elif isinstance(default, int):
        fits = number and float(value).is_integer()
    else:
        fits = number
    if not fits:
        expected = type(default).__name__
        raise UserError(f"config argument '{key}': expected {expected}, given {text!r}")
    return type(default)(value)
