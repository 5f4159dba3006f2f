"""The few numbers of a report that say whether editing works at every shape."""

from collections.abc import Mapping
from typing import Any

from anchoredit_jax.evaluation.policies import policy_title

ALL = "all shapes"
_COLUMNS = (
    ("edit_success", "edit success", 3),
    ("uncover", "uncover right", 3),
    ("story", "of the story", 3),
)


def summarise_shapes(report: Mapping[str, Any], label: str) -> dict[str, dict]:
    """policy -> shape -> numbers of one checkpoint, all shapes together first.

    Args:
      report: of `evaluate`, with the parts "table" and "story", of sprites.
      label: of the checkpoint.

    Returns:
      per shape "sessions", "edit_success", "uncover" (its share among the sessions'
      own), "story" (after cover and other edits) and "subject_psnr" by turn, the first,
      the middle and the last one; None where there is no value.
    """
    summary: dict[str, dict] = {}
    for policy, result in report["table"][label].items():
        story = report["story"][label][policy]
        shapes = {ALL: (result, story)}
        for shape, part in result.get("by_shape", {}).items():
            shapes[shape] = part, story.get("by_shape", {}).get(shape)
        summary[policy] = {
            shape: _numbers(part, own) for shape, (part, own) in shapes.items()
        }
    return summary


def shapes_markdown(summaries: Mapping[str, Mapping[str, dict]]) -> str:
    """A table in Markdown, a line a checkpoint, policy and shape.

    Args:
      summaries: name -> what `summarise_shapes` gives.
    """
    first = next(iter(next(iter(next(iter(summaries.values())).values())).values()))
    turns = " / ".join(first["subject_psnr"])
    titles = [title for _, title, _ in _COLUMNS]
    header = [
        "trained", "memory", "shape", "sessions", *titles,
        f"subject PSNR, turn {turns}",
    ]  # fmt: skip
    rows = [header, ["---"] * len(header)]
    for name, summary in summaries.items():
        for policy, shapes in summary.items():
            for shape, told in shapes.items():
                psnr = [_text(value, 1) for value in told["subject_psnr"].values()]
                cells = [_text(told[key], digits) for key, _, digits in _COLUMNS]
                rows.append(
                    [name, policy_title(policy), shape, str(told["sessions"])]
                    + [*cells, " / ".join(psnr)]
                )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _numbers(result: Mapping[str, Any], story: Mapping[str, Any] | None) -> dict:
    turns = sorted({1, max(1, result["turns"] // 2), result["turns"]})
    psnr = result["per_turn"]["subject_psnr"]
    return {
        "sessions": result["sessions"],
        "edit_success": result["success"]["mean"],
        "uncover": result["success_by_kind"].get("uncover", {}).get("mean"),
        "story": None if story is None else story["uncover"]["mean"],
        "subject_psnr": {str(turn): psnr[turn - 1]["mean"] for turn in turns},
    }


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
