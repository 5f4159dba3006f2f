"""Frozen dataclasses from nested mappings, refusing what does not fit.

Fields are checked against their annotations: int, float (an int is taken), bool, str,
`X | None`, `tuple[X, ...]`, fixed tuples, `Mapping[str, X]`, `Literal[...]` and nested
dataclasses. Anything else is a mistake of ours, not of the user, and raises TypeError.

Every field that is no section of its own says what it decides, in one word that
resuming, parents, certificates and exports all read:

- `geometry`: what the weights are, their shapes and what the numbers in them mean
  (`ASSUMED`: published weights do not tell it);
- `result`: what comes out of a run;
- `way`: only how it gets there (kernel, mesh, workers, lengths, paths of the same
  content).

A field of numbers also says within which bounds they lie, as an interval: "[0, 1)",
"(0, 1000]". Whatever makes a `Bounded` section holds to them: files, arguments,
`dataclasses.replace`. A NaN lies in no interval.
"""

import collections.abc
import contextlib
import dataclasses
import difflib
import re
import reprlib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from anchoredit_jax.errors import UserError

T = TypeVar("T")


_MISSING = dataclasses.MISSING
ASSUMED = "assumed geometry"
OF_THE_WEIGHTS = ("geometry", ASSUMED)
OF_THE_RESULT = ("result", *OF_THE_WEIGHTS)


Within = str | tuple[str, ...] | None


def geometry(
    default: Any = _MISSING,
    *,
    within: Within = None,
    kinds: Sequence[str] = (),
    published: bool = True,
) -> Any:
    """A dataclass field that decides what the weights are, see above.

    Args:
      within: the interval of its numbers, also of those in tuples and mappings; or the
        words that it may be.
      kinds: the kinds that read it, see `choose_kind`; by default all.
      published: whether published weights come with it; else a stage that starts from
        them may choose it.
    """
    return _field(default, "geometry" if published else ASSUMED, within, kinds)


def result(
    default: Any = _MISSING, *, within: Within = None, kinds: Sequence[str] = ()
) -> Any:
    """A dataclass field that decides what comes out, see above."""
    return _field(default, "result", within, kinds)


def way(
    default: Any = _MISSING, *, within: Within = None, kinds: Sequence[str] = ()
) -> Any:
    """A dataclass field that decides how a run gets to its result, see above."""
    return _field(default, "way", within, kinds)


def _field(default: Any, decides: str, within: Within, kinds: Sequence[str]) -> Any:
    metadata = {"decides": decides, "within": within, "kinds": tuple(kinds)}
    return dataclasses.field(default=default, metadata=metadata)


class FieldError(UserError):
    """A field that does not fit the others of its section, for its `__post_init__`.

    `build_dataclass`, which knows where the section stands, names it from the root.
    """

    def __init__(self, section: "Bounded", name: str, problem: str):
        """
        Args:
          section: that refuses the value.
          problem: goes on behind the field's name, as in "must be at most 3, given 4".
        """
        super().__init__(f"{section.place}.{name} {problem}")
        self.name, self.problem = name, problem


class Bounded:
    """A section whose fields are held to their bounds, whoever makes it.

    Attributes:
      place: dotted name of the section in a run's configuration, for messages; said
        with the class where it is not the class's name, `place="data.sprites"`.
    """

    place: ClassVar[str]

    def __init_subclass__(cls, place: str | None = None) -> None:
        super().__init_subclass__()
        cls.place = place or re.sub("(Config|Settings)$", "", cls.__name__).lower()

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # pyright: ignore[reportArgumentType]
            where = f"{self.place}.{field.name}"
            check_within(field, getattr(self, field.name), where)


def check_within(field: dataclasses.Field, value: Any, where: str) -> None:
    """Refuse a value, or one in it, that is out of its field's bounds.

    Raises:
      UserError: says the bounds.
    """
    within = field.metadata.get("within")
    if within is None or value is None:
        return
    if isinstance(value, Mapping | tuple | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            check_within(field, item, where)
    elif isinstance(within, tuple):
        if value not in within:
            raise UserError(
                f"{where} must be one of {', '.join(within)}, given {shorten(value)}"
            )
    elif not lies_within(value, within):
        raise UserError(f"{where} must be in {within}, given {shorten(value)}")


def lies_within(value: float, interval: str) -> bool:
    """Tell whether a number lies in an interval such as "[0, 1)"; a NaN does not."""
    least, most = (
        float(end) if "." in end or "e" in end else int(end)  # integers are exact
        for end in interval[1:-1].split(", ")
    )
    above = least <= value if interval[0] == "[" else least < value
    below = value <= most if interval[-1] == "]" else value < most
    return above and below


def shorten(value: Any) -> str:
    """A value for a message, of a length that a line can take."""
    return reprlib.repr(value)


def deciding(cls: type, prefix: str = "") -> dict[str, str]:
    """Dotted name of every field of a dataclass and of its sections -> what it decides.

    Raises:
      TypeError: a field that does not say.
    """
    told: dict[str, str] = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name = f"{prefix}{field.name}"
        section = _section_of(hints[field.name])
        if "decides" in field.metadata:
            told[name] = field.metadata["decides"]
        elif section is None:
            raise TypeError(f"{cls.__name__}.{field.name} does not say what it decides")
        else:
            told |= deciding(section, f"{name}.")
    return told


def _section_of(annotation: Any) -> type | None:
    """The dataclass that a field holds, maybe optionally."""
    for option in (annotation, *typing.get_args(annotation)):
        if dataclasses.is_dataclass(option):
            return option
    return None


def choose_kind(config: Any, where: str) -> None:
    """Check a dataclass whose field `kind` is one of several, in its `__post_init__`.

    Every kind has a section, an optional field of its name that is None unless the kind
    is chosen; that of the chosen kind takes its defaults where it is left out. Fields
    made with `kinds=` are read by these kinds only.

    Args:
      where: dotted name of the config's section, for messages.

    Raises:
      UserError: an unknown kind, or a field that the chosen kind does not read.
    """
    hints = typing.get_type_hints(type(config))
    sections = {
        name: section for name in hints if (section := _section_of(hints[name]))
    }
    if config.kind not in sections:
        what = f"{where}.kind '{config.kind}'"
        raise UserError(unknown_name(what, config.kind, sections))
    for kind, section in sections.items():
        if kind != config.kind and getattr(config, kind) is not None:
            raise _unread(f"{where}.{kind}", where, config.kind, (kind,))
        if kind == config.kind and getattr(config, kind) is None:
            object.__setattr__(
                config, kind, build_dataclass(section, {}, f"{where}.{kind}")
            )
    for field in dataclasses.fields(config):
        readers = field.metadata.get("kinds")
        if readers and config.kind not in readers:
            if getattr(config, field.name) != field.default:
                raise _unread(f"{where}.{field.name}", where, config.kind, readers)


def _unread(name: str, where: str, kind: str, readers: Sequence[str]) -> UserError:
    return UserError(
        f"config key '{name}' is read with {where}.kind "
        f"{' or '.join(map(repr, readers))} only, the kind is {kind!r}: leave it out"
    )


class FrozenMapping(dict):
    """A dict for use inside frozen dataclasses: hashable and not writable."""

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def _refuse(self, *_: Any, **__: Any) -> None:
        raise TypeError("this mapping is part of a frozen config")

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = clear = pop = popitem = setdefault = _refuse

    def __reduce__(self) -> tuple:
        return FrozenMapping, (dict(self),)


def build_dataclass(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """`cls(**values)` with every value checked and coerced to its annotation.

    Args:
      cls: a dataclass.
      values: field name -> value; fields left out take their defaults.
      where: dotted name of this section, for messages.

    Raises:
      UserError: an unknown field, a missing one, a wrong type, or a ValueError that
        the dataclass itself raised in `__post_init__`.
    """
    if isinstance(values, cls):
        return values
    if not isinstance(values, Mapping):
        raise UserError(
            f"config section '{where}': expected keys, given {shorten(values)}"
        )
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    coerced = {}
    for key, value in values.items():
        if key not in fields:
            what = f"config key '{where}.{key}' (nothing reads it)"
            raise UserError(unknown_name(what, str(key), fields))
        coerced[key] = coerce(value, hints[key], f"{where}.{key}")
        check_within(fields[key], coerced[key], f"{where}.{key}")
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        )
        if required and name not in coerced:
            raise UserError(f"config key '{where}.{name}' is missing")
        if name not in coerced and field.default_factory is not dataclasses.MISSING:
            coerced[name] = coerce(field.default_factory(), hints[name], where)
    try:
        return cls(**coerced)
    except FieldError as error:
        raise UserError(f"{where}.{error.name} {error.problem}") from error
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"config section '{where}': {error}") from error


def coerce(value: Any, annotation: Any, where: str) -> Any:
    """`value` as `annotation`, or a UserError that names `where`."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(value, args, annotation, where)
    if origin is typing.Literal:
        if value in args:
            return value
        raise _mismatch(where, " or ".join(map(repr, args)), value)
    if dataclasses.is_dataclass(annotation):
        return build_dataclass(annotation, value, where)
    if origin is tuple or annotation is tuple:
        return _coerce_tuple(value, args, where)
    if origin in (dict, collections.abc.Mapping) or annotation in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _mismatch(where, "keys with values", value)
        item = args[1] if args else Any
        return FrozenMapping(
            {str(k): coerce(v, item, f"{where}.{k}") for k, v in value.items()}
        )
    if annotation is bool:
        if isinstance(value, bool):
            return value
    elif annotation is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif annotation is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):  # an integer of 309 digits
                return float(value)
    elif annotation is str:
        if isinstance(value, str):
            return value
    else:
        raise TypeError(f"{where}: annotation {annotation!r} is not supported")
    raise _mismatch(where, annotation.__name__, value)


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """`what` is unknown: the nearest known name, and all of them."""
    names = sorted(map(str, known))
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown {what}: {hint}known: {', '.join(names)}"


def _coerce_union(value: Any, args: tuple, annotation: Any, where: str) -> Any:
    written = isinstance(value, str) and value.lower() in ("none", "null")
    if (value is None or written) and type(None) in args:
        return None
    reason = None
    for option in args:
        if option is type(None):
            continue
        try:
            return coerce(value, option, where)
        except UserError as error:
            reason = error
    if sum(option is not type(None) for option in args) == 1 and reason is not None:
        raise reason
    raise _mismatch(where, str(annotation), value)


def _coerce_tuple(value: Any, args: tuple, where: str) -> tuple:
    if not isinstance(value, list | tuple):
        raise _mismatch(where, "a list", value)
    if not args:
        return tuple(value)
    if len(args) == 2 and args[1] is Ellipsis:
        kinds = (args[0],) * len(value)
    elif len(args) != len(value):
        raise _mismatch(where, f"{len(args)} values", value)
    else:
        kinds = args
    return tuple(
        coerce(item, kind, f"{where}[{i}]")
        for i, (item, kind) in enumerate(zip(value, kinds, strict=True))
    )


def _mismatch(where: str, expected: str, value: Any) -> UserError:
    return UserError(
        f"config key '{where}': expected {expected}, given {shorten(value)}"
    )


def plain(value: Any) -> Any:
    """Dataclasses and mappings as nested plain dicts; tuples stay tuples."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return value
