"""What checks annotations in tests; an int is a float, as type checkers have it."""

from collections.abc import Callable

from beartype import BeartypeConf, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function: Callable) -> Callable:
    """Check every call, but of functions inside functions: these are made anew, and
    would be prepared anew, every time that the outer one is traced."""
    nested = "<locals>" in getattr(function, "__qualname__", "")
    return function if nested else _check(function)
