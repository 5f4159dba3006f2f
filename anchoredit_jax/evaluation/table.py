"""The evaluation's numbers as plain text tables."""

from collections.abc import Mapping, Sequence

from anchoredit_jax.evaluation.policies import policy_title


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [
            cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def policies_table(results: Mapping[str, dict]) -> str:
    """One line per policy: the table of point 7, from `summarise` of each policy."""
    turns = next(iter(results.values()))["turns"]
    middle = max(1, turns // 2)
    marks = sorted({1, middle, turns})
    header = [
        "policy",
        f"edit success, {turns} turns",
        f"subject PSNR, turn {' / '.join(map(str, marks))}",
        f"retrieval, turn {turns}",
        "uncover right",
        f"untouched PSNR, turn {turns}",
        f"whole state, turn {turns}",
    ]
    rows = []
    for name, result in results.items():
        turn = result["per_turn"]
        rows.append(
            [
                policy_title(name),
                rate(result["success"], interval=True),
                " / ".join(decibel(turn["subject_psnr"][t - 1]) for t in marks),
                rate(turn["retrieved"][-1]),
                rate(result["success_by_kind"].get("uncover")),
                decibel(turn["untouched_psnr"][-1]),
                rate(turn["state"][-1]),
            ]
        )
    return format_table(header, rows)


def kinds_table(results: Mapping[str, dict]) -> str:
    """Edit success of every kind of instruction, one line per policy."""
    kinds = list(next(iter(results.values()))["success_by_kind"])
    rows = [
        [policy_title(name), *(rate(result["success_by_kind"][k]) for k in kinds)]
        for name, result in results.items()
    ]
    return format_table(["edit success by kind", *kinds], rows)


def story_table(results: Mapping[str, dict]) -> str:
    """The scripted cover-and-uncover test, from `summarise_story` of each policy."""
    header = [
        "cover, other edits, uncover",
        "uncover right",
        "right subject of 48",
        "subject PSNR",
        "PSNR under cover",
    ]
    rows = [
        [
            policy_title(name),
            rate(result["uncover"], interval=True),
            rate(result["retrieved"]),
            decibel(result["subject_psnr"]),
            decibel(result["covered_psnr"]),
        ]
        for name, result in results.items()
    ]
    return format_table(header, rows)


def ambiguous_table(results: Mapping[str, dict]) -> str:
    """The ambiguous instructions, one block of lines per sampler."""
    header = [
        "ambiguous instructions",
        "kind",
        "valid",
        "sharp",
        "valid and sharp",
        "sharpness",
        "diversity",
    ]
    rows = []
    for name, result in results.items():
        for kind in (k for k, value in result.items() if isinstance(value, dict)):
            part = result[kind]
            rows.append(
                [
                    name,
                    kind,
                    rate(part["valid"], interval=True),
                    rate(part["sharp"]),
                    rate(part["valid_and_sharp"]),
                    number(part["sharpness"], 2),
                    number(part["diversity"], 2),
                ]
            )
    return format_table(header, rows)


def comparison_table(comparisons: Sequence[dict]) -> str:
    """Paired differences between checkpoints, from `compare_scores`."""
    header = [
        "second minus first",
        "policy",
        "edit success",
        "subject PSNR, last turn",
        "untouched PSNR, last turn",
        "whole state, last turn",
    ]
    rows = [
        [
            f"{entry['second']} - {entry['first']}",
            policy_title(entry["policy"]),
            number(entry["difference"]["success"], 3, interval=True),
            number(entry["difference"]["subject_psnr_last"], 2, interval=True),
            number(entry["difference"]["untouched_psnr_last"], 2, interval=True),
            number(entry["difference"]["state_last"], 3, interval=True),
        ]
        for entry in comparisons
    ]
    return format_table(header, rows)


def number(value: dict | None, digits: int, interval: bool = False) -> str:
    """A mean, with its 95 % interval if wanted; "-" where nothing was counted."""
    if value is None or value["mean"] is None:
        return "-"
    text = f"{value['mean']:.{digits}f}"
    if interval:
        text += f" [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
    return text


def rate(value: dict | None, interval: bool = False) -> str:
    """A share between 0 and 1."""
    return number(value, 3, interval)


def decibel(value: dict | None) -> str:
    """A PSNR in dB."""
    return number(value, 1)
