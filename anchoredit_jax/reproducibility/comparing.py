"""Two certificates against each other: bit-equal, or what differs first; no JAX."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from anchoredit_jax.config_history import modernise
from anchoredit_jax.errors import UserError
from anchoredit_jax.reproducibility.certificate import Certificate, Row, from_bits

# What of a step can differ, causes before effects.
KINDS = ("data", "draws", "loss", "gradients", "parameters")
# Settings of the loop that decide what comes out; the others are lengths.
OF_LOOP = ("loop.skip_nonfinite", "loop.spike_factor", "loop.skip_spikes")


@dataclasses.dataclass(frozen=True)
class Difference:
    """A thing that differs at a step.

    Attributes:
      step: 1 is the first.
      kind: one of `KINDS`.
      name: of the metric, of the array of the state ("params/head/kernel"), or of the
        digest.
      left, right: the two values: numbers of metrics, else digests.
      ulps: how many float32 lie between two metrics.
    """

    step: int
    kind: str
    name: str
    left: Any
    right: Any
    ulps: int | None = None

    @property
    def absolute(self) -> float | None:
        """The absolute difference; None where the values are no numbers."""
        if isinstance(self.left, str) or isinstance(self.right, str):
            return None
        return abs(self.left - self.right)

    @property
    def relative(self) -> float | None:
        """The difference as a share of the larger value."""
        if self.absolute is None:
            return None
        largest = max(abs(self.left), abs(self.right))
        return self.absolute / largest if largest else 0.0


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found of two certificates.

    Attributes:
      causes: differences of versions, flags, devices, mesh, configuration, dataset and
        parent, in words.
      first: all that differs at the first step that does, causes before effects; empty
        where all is bit-equal.
      steps, arrays: how many were compared.
      checkpoints: those whose arrays were compared.
      loss: the largest relative difference of the loss at any step.
    """

    causes: tuple[str, ...]
    first: tuple[Difference, ...]
    steps: int
    arrays: int
    checkpoints: tuple[int, ...]
    loss: float

    @property
    def equal(self) -> bool:
        """Tell whether all bits are equal; causes may be there without an effect."""
        return not self.first


def compare(left: Certificate, right: Certificate) -> Comparison:
    """Compare the steps that both have.

    Raises:
      UserError: of two stages, or without a step in common.
    """
    if left.stage != right.stage:
        raise UserError(
            f"certificates of two stages, {left.stage} and {right.stage}: compare "
            "those of one"
        )
    ours, theirs = ({row.step: row for row in c.rows} for c in (left, right))
    steps = sorted(ours.keys() & theirs.keys())
    saved = sorted(left.checkpoints.keys() & right.checkpoints.keys())
    named = [name for step in saved for name in left.checkpoints[step]]
    if not steps and not (named and _too_few_for_rows(left, right)):
        raise UserError(
            f"no row of a step is in both certificates: one has {_span(left)}, the "
            f"other {_span(right)}: there is nothing to compare"
        )
    first: tuple[Difference, ...] = ()
    for step in sorted({*steps, *saved}):
        found = []
        if step in ours and step in theirs:
            found += _of_rows(ours[step], theirs[step])
        if step in left.checkpoints and step in right.checkpoints:
            found += _of_arrays(step, left.checkpoints[step], right.checkpoints[step])
        if found:
            first = tuple(sorted(found, key=lambda d: KINDS.index(d.kind)))
            break
    losses = [_metric(s, "loss", ours[s], theirs[s]) for s in steps]
    return Comparison(
        causes=tuple(causes(left, right)),
        first=first,
        steps=len(steps),
        arrays=len(left.checkpoints[saved[-1]]) if saved else 0,
        checkpoints=tuple(saved),
        loss=max((d.relative or 0.0 for d in losses), default=0.0),
    )


def _too_few_for_rows(left: Certificate, right: Certificate) -> bool:
    """Whether no step was due for a row, so that arrays are all there is."""
    return all(
        not one.rows and max(one.checkpoints, default=0) < one.every
        for one in (left, right)
    )


def causes(left: Certificate, right: Certificate) -> list[str]:
    """Why two certificates may differ, likeliest first: what differs of what they were
    made of."""
    found = []
    for name, (ours, theirs) in _environments(left, right).items():
        if ours != theirs:
            found.append(f"environment: {name}: {ours or 'none'} | {theirs or 'none'}")
    configs = [modernise(certificate.config) for certificate in (left, right)]
    for name, ours, theirs in _differing(*configs):
        younger = None in (ours, theirs) and not (ours or theirs)  # and not used
        if not younger and (name in OF_LOOP or not name.startswith("loop.")):
            found.append(f"config: {name}: {ours!r} | {theirs!r}")
    if left.dataset != right.dataset:
        found.append(f"dataset: {left.dataset} | {right.dataset}")
    if _plain(left.changes) != _plain(right.changes):
        told = (_changes(certificate) for certificate in (left, right))
        found.append(f"changes: {' | '.join(told)}")
    if left.parent != right.parent:
        found.append(f"parent: {_parent(left)} | {_parent(right)}")
    return found


def _environments(left: Certificate, right: Certificate) -> dict[str, tuple[str, str]]:
    """Name -> the values of both; of several segments, in order, repeated ones once."""
    names = {n: None for c in (left, right) for s in c.segments for n in s.environment}
    found = {}
    for name in names:
        values = []
        for certificate in (left, right):
            parts = [s.environment.get(name, "") for s in certificate.segments]
            values.append(", then ".join(dict.fromkeys(parts)))
        found[name] = (values[0], values[1])
    return found


def _differing(
    left: Any, right: Any, prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, value, value) of the leaves of two nested mappings that differ."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in sorted(left.keys() | right.keys()):
            yield from _differing(left.get(key), right.get(key), f"{prefix}{key}.")
    elif _plain(left) != _plain(right):
        yield prefix[:-1], left, right


def _plain(value: Any) -> Any:
    """Tuples as JSON gives them back."""
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _of_rows(left: Row, right: Row) -> list[Difference]:
    found = [
        Difference(left.step, kind, name, getattr(left, name), getattr(right, name))
        for kind, name in (("data", "ids"), ("data", "data"), ("draws", "draws"))
        if getattr(left, name) != getattr(right, name)
    ]
    for name in sorted(left.metrics.keys() | right.metrics.keys()):
        if left.metrics.get(name) != right.metrics.get(name):
            found.append(_metric(left.step, name, left, right))
    return found


def _metric(step: int, name: str, left: Row, right: Row) -> Difference:
    if name not in left.metrics or name not in right.metrics:
        values = [row.metrics.get(name, "absent") for row in (left, right)]
        return Difference(step, _kind(name), name, *values)
    ours, theirs = left.metrics[name], right.metrics[name]
    return Difference(
        step, _kind(name), name, from_bits(ours), from_bits(theirs), _ulps(ours, theirs)
    )


def _kind(metric: str) -> str:
    if metric.endswith("grad_norm"):
        return "gradients"
    # What the optimizer makes of the gradients: its state, and the schedule.
    return "parameters" if metric.endswith("update_norm") else "loss"


def _ulps(left: str, right: str) -> int | None:
    if not all(math.isfinite(from_bits(bits)) for bits in (left, right)):
        return None
    return abs(_rank(left) - _rank(right))


def _rank(bits: str) -> int:
    """The number of a float32 among all, in order of size; 0 is zero."""
    number = int(bits, 16)
    return -(number - 2**31) if number >= 2**31 else number


def _of_arrays(
    step: int, left: Mapping[str, str], right: Mapping[str, str]
) -> list[Difference]:
    found = []
    for name in dict.fromkeys((*left, *right)):
        ours, theirs = left.get(name, "absent"), right.get(name, "absent")
        if ours != theirs:
            found.append(Difference(step, "parameters", name, ours, theirs))
    return found


def _span(certificate: Certificate) -> str:
    rows = certificate.rows
    return f"{rows[0].step} to {rows[-1].step}" if rows else "none"


def _changes(certificate: Certificate) -> str:
    told = (
        f"{', '.join(change['settings'])} behind step {change['step']}"
        for change in certificate.changes
    )
    return "; ".join(told) or "none"


def _parent(certificate: Certificate) -> str:
    parent = certificate.parent
    if parent is None:
        return "none"
    return f"{parent['stage']}@{parent['step']} ({parent['digest']})"
