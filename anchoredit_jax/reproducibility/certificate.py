"""A certificate: what a run was made of, and what every step of it computed, in bits.

Layout of `certificate.json`: one object; `rows` holds a line a step, `checkpoints` the
digest of every array of the state by its name. Needs no JAX to be read.
"""

import dataclasses
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anchoredit_jax import files
from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import build_dataclass, result

FORMAT = "anchoredit_jax.certificate/2"
UNSEALED = "anchoredit_jax.certificate/1"  # had no digest of itself
SEAL = "digest"
NAME = "certificate.json"
_STEP = "[0, 1e12]"


@dataclasses.dataclass(frozen=True)
class Row:
    """What a certificate says of one step.

    Attributes:
      step: 1 is the first.
      ids: digest of the sample numbers of the whole batch, in order.
      data: digest of the arrays of the whole batch.
      draws: digest of the keys of every purpose for these samples.
      metrics: name -> bits of the float32, 8 hex digits (`to_bits`).
    """

    step: int = result(within=_STEP)
    ids: str = result()
    data: str = result()
    draws: str = result()
    metrics: Mapping[str, str] = result()


@dataclasses.dataclass(frozen=True)
class Segment:
    """Steps that ran in one environment: those from `first` on."""

    first: int = result(within=_STEP)
    environment: Mapping[str, str] = result()


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What `reproduce.py run` writes beside the checkpoints.

    Attributes:
      stage: the stage that was trained.
      config: that of the last process that worked on it, as nested plain values.
      config_digest: a digest of what of it may not differ between two equal runs.
      dataset: fingerprint of the sessions.
      parent: stage, step and digest of the weights that it began from, or None.
      every: a row is written every so many steps.
      segments: environments, ascending.
      rows: ascending.
      changes: of the configuration, see `Lineage`; `config` is what they led to.
      checkpoints: step -> name of an array of the state -> its digest.
    """

    stage: str
    config: Mapping[str, Any]
    config_digest: str
    dataset: str
    parent: Mapping[str, Any] | None
    every: int = result(within="[1, 1e12]")
    segments: tuple[Segment, ...] = result()
    rows: tuple[Row, ...] = ()
    checkpoints: Mapping[int, Mapping[str, str]] = dataclasses.field(
        default_factory=dict
    )
    changes: tuple[Mapping[str, Any], ...] = ()

    def between(self, first: int, last: int) -> "Certificate":
        """Rows and checkpoints of the steps first < step <= last."""
        kept = {s: v for s, v in self.checkpoints.items() if first < s <= last}
        return dataclasses.replace(
            self,
            rows=tuple(row for row in self.rows if first < row.step <= last),
            checkpoints=kept,
        )


def to_bits(value: float) -> str:
    """The bits of a float32, 8 hex digits."""
    return struct.pack(">f", value).hex()


def from_bits(bits: str) -> float:
    return struct.unpack(">f", bytes.fromhex(bits))[0]


def digest_config(values: Mapping[str, Any]) -> str:
    """Digest what decides the result of a run, see `config.deciding_values`."""
    return files.blake2b(json.dumps(values, sort_keys=True).encode())


def write(path: Path, certificate: Certificate) -> None:
    """It appears whole or not at all; a step is a line. A digest of all of it tells
    whether it was edited since."""
    values = dataclasses.asdict(certificate)
    values[SEAL] = _seal(values)
    rows = ",\n  ".join(json.dumps(row) for row in values.pop("rows"))
    head = json.dumps({"format": FORMAT, **values}, indent=1, sort_keys=True)
    text = f'{head[:-2]},\n "rows": [\n  {rows}\n ]\n}}\n'
    files.write_text(path, text)


def read(path: str | Path) -> Certificate:
    """A certificate, or that of a stage's folder.

    Raises:
      UserError: there is none, or it is damaged.
    """
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"no certificate {str(path)!r}: expected the {NAME} that launch/"
            "reproduce.py run writes into WORKDIR/STAGE"
        )
    values = files.read_json(path)
    found = values.pop("format", None)
    if found not in (FORMAT, UNSEALED):
        raise UserError(
            f"{str(path)!r} is not a certificate: expected format {FORMAT!r}, found "
            f"{found!r}"
        )
    if found == FORMAT and values.pop(SEAL, None) != _seal(values):
        raise UserError(
            f"certificate {str(path)!r} was edited or is damaged: it does not fit its "
            "digest; certify the run again"
        )
    try:
        made = build_dataclass(_Stored, values, "certificate")
        saved = {int(step): digests for step, digests in made.checkpoints.items()}
        if made.parent is not None:
            build_dataclass(_Parent, made.parent, "certificate.parent")
        for row in made.rows:
            if not row.metrics:
                raise UserError(f"the row of step {row.step} has no metrics")
            for bits in row.metrics.values():
                from_bits(bits)
    except (ValueError, struct.error) as error:  # `UserError` is a ValueError
        raise UserError(f"certificate {str(path)!r} is damaged: {error}") from error
    stored = {name: getattr(made, name) for name in vars(made)}
    return Certificate(**{**stored, "checkpoints": saved})


def _seal(values: Mapping[str, Any]) -> str:
    """A digest of a certificate's values, as they are once JSON gave them back."""
    plain = json.loads(json.dumps(values))
    return files.sha256(json.dumps(plain, sort_keys=True).encode())


@dataclasses.dataclass(frozen=True)
class _Parent:
    stage: str
    step: int = result(within=_STEP)
    digest: str = result()


@dataclasses.dataclass(frozen=True)
class _Stored(Certificate):
    """A certificate as JSON has it: the numbers of steps are texts."""

    checkpoints: Mapping[str, Mapping[str, str]] = dataclasses.field(
        default_factory=dict
    )
