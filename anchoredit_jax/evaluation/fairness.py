"""What a comparison has to tell: one size for all, stages that were interrupted, and
memories that hold the same frames."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.cases import Case
from anchoredit_jax.evaluation.policies import policy_title
from anchoredit_jax.evaluation.runs import PolicyRun
from anchoredit_jax.evaluation.settings import Contestant
from anchoredit_jax.session.shapes import check_asked


def unfinished_notes(contestants: Sequence[Contestant]) -> list[str]:
    """A sentence on every checkpoint that is not its stage's last step.

    A folder stands for the stage in it that went furthest, even if that stage was
    interrupted after two steps.
    """
    notes = []
    for contestant in contestants:
        lineage = contestant.editor.lineage
        steps = None if lineage is None else contestant.editor.run.loop.steps
        if steps is None or not 0 < lineage.step < steps:
            continue
        before = lineage.parent
        other = f" (it started from {before.stage})" if before is not None else ""
        notes.append(
            f"{contestant.label} is step {lineage.step} of {steps} of the stage "
            f"{lineage.stage}, which is not finished: {contestant.path} stands for the "
            f"stage that went furthest there. To compare another one, name its "
            f"folder{other}."
        )
    return notes


def size_notes(contestants: Sequence[Contestant], cases: Iterable[Case]) -> list[str]:
    """Sentences on the one size that all contestants edit at: the first one's.

    Pixels of different sizes cannot be compared, so that models trained at different
    sizes are not measured at their own ones.

    Raises:
      UserError: a contestant that cannot edit at a size of these cases.
    """
    first, *others = contestants
    sizes = list(dict.fromkeys(case.source.shape[:2] for case in cases))
    notes = []
    for other in others:
        for size in sizes:
            try:
                check_asked(other.editor.run, size)
            except UserError as error:
                raise UserError(
                    f"{other.label} cannot edit at the size of {first.label}, at "
                    f"which all are compared: {error}; give --size, one that all can"
                ) from error
        own = {size: other.editor.size_of(size) for size in sizes}
        differing = {size: at for size, at in own.items() if at != size}
        if differing:
            size, at = next(iter(differing.items()))
            notes.append(
                f"All models edit at the size of {first.label}, {_told(size)} pixels; "
                f"{other.label} alone would have edited at {_told(at)}, as it was "
                "trained, so this is not its best. --size sets another size for all."
            )
    return notes


def _told(size: tuple[int, int]) -> str:
    height, width = size
    return f"{width} x {height}"


def identical_notes(identical: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A sentence on every memory that was not run, because another holds the same."""
    pairs = {
        (policy, other): part
        for part, found in identical.items()
        for policy, other in found.items()
    }
    return [
        f"{policy_title(policy)} and {policy_title(other)} hold the same frames over "
        "so few turns: computed once, and shown with the same numbers."
        for policy, other in pairs
    ]


def find_identical(results: Mapping[str, Mapping[str, Any]]) -> dict:
    """Part -> policy -> the policy whose results it shares; only parts with such.

    Args:
      results: part -> checkpoint -> policy -> `PolicyRun`; other results are passed by.
    """
    found: dict[str, dict[str, str]] = {}
    for part, contestants in results.items():
        for runs in contestants.values():
            for policy, run in runs.items() if isinstance(runs, Mapping) else ():
                if isinstance(run, PolicyRun) and run.same_as is not None:
                    found.setdefault(part, {})[policy] = run.same_as
    return found


def distinct(runs: Mapping[str, PolicyRun]) -> dict[str, PolicyRun]:
    """The policies that were run themselves."""
    return {name: run for name, run in runs.items() if run.same_as is None}
