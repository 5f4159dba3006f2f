"""Where weights come from: stage, step, digest and config, back to the first stage."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from anchoredit_jax.errors import UserError
from anchoredit_jax.stages.stage import IMPORTED
from anchoredit_jax.strict import build_dataclass, result


@dataclasses.dataclass(frozen=True)
class Lineage:
    """One stage's result and what it started from.

    Attributes:
      stage, step: which stage made the weights, and after how many steps.
      digest: `digest` of those weights.
      weights: which of the state's trees they are, "ema" or "params".
      config: the stage's configuration, as nested plain values.
      parent: the weights that this stage started from; None for the first stage.
      changes: of the configuration while it trained, ascending: {"step": how many were
        done before, "settings": name -> [old value, new value]}.
    """

    stage: str
    step: int = result(within="[0, 1e12]")
    digest: str = result()
    config: Mapping[str, Any] = result()
    parent: "Lineage | None" = None
    weights: str = "ema"
    changes: tuple[Mapping[str, Any], ...] = ()

    def chain(self) -> Iterator["Lineage"]:
        """Yield the records from the first stage to this one."""
        if self.parent is not None:
            yield from self.parent.chain()
        yield self

    def describe(self) -> str:
        """One line: `single_turn@500 (ab12...) -> causal_forcing@500 (cd34...)`."""
        return " -> ".join(
            f"{link.stage}@{link.step} ({link.digest}{link._steered()})"
            for link in self.chain()
        )

    def describe_changes(self) -> list[str]:
        """A line for every change of every stage, with both values."""
        return [
            f"{link.stage} behind step {change['step']}: {name}: "
            f"{json.dumps(old)}, then {json.dumps(new)}"
            for link in self.chain()
            for change in link.changes
            for name, (old, new) in change["settings"].items()
        ]

    def _steered(self) -> str:
        steps = [str(change["step"]) for change in self.changes]
        return f", changed behind step {' and '.join(steps)}" if steps else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives back an equal record."""
        values = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        values["config"] = json.loads(json.dumps(self.config))
        values["parent"] = self.parent.to_dict() if self.parent else None
        values["changes"] = json.loads(json.dumps(self.changes))
        if not self.changes:  # a record as it was before there were any
            del values["changes"]
        return values

    @classmethod
    def from_json(cls, text: str) -> "Lineage":
        """A record that is stored as a text.

        Raises:
          UserError: it is damaged.
        """
        try:
            return cls.from_dict(json.loads(text))
        except (TypeError, ValueError, RecursionError) as error:
            raise UserError(f"a lineage record is damaged: {error}") from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Lineage":
        """Read a record back.

        Raises:
          UserError: a malformed one, that of a parent too.
        """
        try:
            return build_dataclass(cls, values, "lineage")
        except (UserError, RecursionError) as error:
            raise UserError(f"lineage record is malformed: {error}") from error


def check_parent(stage: str, allowed: tuple[str, ...], parent: Lineage | None) -> None:
    """Refuse to start `stage` from nothing, or from a stage it cannot follow.

    A stage that may follow no other one starts from scratch, or goes on from itself
    (another schedule, other data) where `allowed` names it.

    Raises:
      UserError: says which stages are expected and which one was given.
    """
    if not allowed:
        if parent is not None:
            raise UserError(
                f"stage {stage} starts from scratch: leave the parent checkpoint "
                f"(given: {parent.stage} at step {parent.step}) out"
            )
        return
    expected = " or ".join(allowed)
    if parent is None:
        if set(allowed) <= {stage, IMPORTED}:
            return
        raise UserError(
            f"stage {stage} starts from a checkpoint of {expected}: train that first, "
            "or name one with --parent"
        )
    if parent.stage not in allowed:
        raise UserError(
            f"stage {stage} starts from a checkpoint of {expected}, "
            f"given one of {parent.stage} (step {parent.step})"
        )
