"""The evaluation's numbers as plain text tables."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from anchoredit_jax.evaluation.policies import policy_title

# (measure, title, digits) of what the console shows.
OVER_TURNS = (
    ("subject_psnr", "subject PSNR, turn", 1),
    ("identity_psnr", "PSNR of what stays as in the source, turn", 1),
    ("identity_ssim", "SSIM of what stays as in the source, turn", 3),
    ("source_difference", "mean difference from the source of 255, turn", 1),
    ("judge_instruction", "judge: instruction, turn", 1),
    ("judge_consistency", "judge: consistency, turn", 1),
)
COMPARED = (
    ("success", "edit success", 3),
    ("subject_psnr_last", "subject PSNR, last turn", 2),
    ("identity_psnr_last", "PSNR as in the source, last turn", 2),
    ("untouched_psnr_last", "untouched PSNR, last turn", 2),
    ("state_last", "whole state, last turn", 3),
)


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
    marks = _marks(turns)
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
                _subject(result, marks),
                rate(turn["retrieved"][-1]),
                rate(result["success_by_kind"].get("uncover")),
                decibel(turn["untouched_psnr"][-1]),
                rate(turn["state"][-1]),
            ]
        )
    return format_table(header, rows)


def shapes_table(
    results: Mapping[str, dict], stories: Mapping[str, dict] = MappingProxyType({})
) -> str:
    """A line per policy and shape, height x width of the sources, from "by_shape".

    Args:
      results: of the sessions, by policy.
      stories: of the cover-and-uncover test, if there was one.
    """
    marks = _marks(next(iter(results.values()))["turns"])
    header = [
        "by shape",
        "sessions",
        "edit success",
        f"subject PSNR, turn {' / '.join(map(str, marks))}",
        "uncover right",
        "of the story",
    ]
    rows = []
    for name, result in results.items():
        told = stories.get(name, {}).get("by_shape", {})
        for shape, part in result["by_shape"].items():
            rows.append(
                [
                    f"{policy_title(name)}, {shape}",
                    str(part["sessions"]),
                    rate(part["success"], interval=True),
                    _subject(part, marks),
                    rate(part["success_by_kind"].get("uncover")),
                    rate(told.get(shape, {}).get("uncover")),
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


def turns_table(results: Mapping[str, dict]) -> str:
    """`OVER_TURNS` turn by turn, a block a measure; those without values left out."""
    blocks = []
    for name, title, digits in OVER_TURNS:
        if name == "source_difference" and blocks:
            continue  # where the truth is known, what was asked for is no difference
        rows = [
            [policy_title(policy), *(number(value, digits) for value in values)]
            for policy, result in results.items()
            if (values := result["per_turn"].get(name))
        ]
        if any(cell != "-" for row in rows for cell in row[1:]):
            turns = max(len(row) for row in rows)
            blocks.append(format_table([title, *map(str, range(1, turns))], rows))
    return "\n\n".join(blocks)


def identity_table(results: Mapping[str, dict]) -> str:
    """How far the null instruction, again and again, leads from the source."""
    turns = next(iter(results.values()))["turns"]
    marks = _marks(turns)
    header = [
        "identity loop",
        f"mean difference of 255, turn {' / '.join(map(str, marks))}",
        f"SSIM, turn {turns}",
    ]
    rows = []
    for name, result in results.items():
        turn = result["per_turn"]
        drift = " / ".join(number(turn["source_difference"][t - 1], 2) for t in marks)
        rows.append([policy_title(name), drift, number(turn["identity_ssim"][-1], 3)])
    return format_table(header, rows)


def codec_table(trips: Sequence[dict]) -> str:
    """What a round trip through the codec costs, from `summarise_codec`."""
    header = ["codec alone: encoding in, decoding in", "PSNR", "SSIM", "latents off by"]
    rows = [
        [
            f"{trip['encode']}, {trip['decode']}",
            decibel(trip["psnr"]),
            number(trip["ssim"], 4),
            number(trip["latent_error"], 5),
        ]
        for trip in trips
    ]
    return format_table(header, rows)


def judge_table(told: Mapping[str, dict]) -> str:
    """How many turns the judge was asked about, and what that cost."""
    header = ["judge", "asked", "known before", "without a score", "tokens in", "out"]
    rows = [
        [
            policy_title(policy),
            *(str(entry[name]) for name in ("asked", "reused", "unjudged")),
            *(str(count) for count in entry["usage"].values()),
        ]
        for policy, entry in told.items()
    ]
    return format_table(header, rows)


def comparison_table(comparisons: Sequence[dict]) -> str:
    """Paired differences between checkpoints and between policies, from `compare`."""
    known = {name for entry in comparisons for name in entry["difference"]}
    measures = [measure for measure in COMPARED if measure[0] in known]
    header = ["second minus first", *(title for _, title, _ in measures)]
    rows = []
    for entry in comparisons:
        first, second = entry["first"], entry["second"]
        told = f"{policy_title(second['policy'])} - {policy_title(first['policy'])}"
        if first["checkpoint"] != second["checkpoint"]:
            told = f"{second['checkpoint']} - {first['checkpoint']}"
            told += f", {policy_title(second['policy'])}"
        else:
            told = f"{first['checkpoint']}: {told}"
        found = entry["difference"]
        cells = [number(found.get(name), d, interval=True) for name, _, d in measures]
        rows.append([told, *cells])
    return format_table(header, rows)


def _marks(turns: int) -> list[int]:
    """The first, the middle and the last turn."""
    return sorted({1, max(1, turns // 2), turns})


def _subject(result: dict, marks: Sequence[int]) -> str:
    psnr = result["per_turn"]["subject_psnr"]
    return " / ".join(decibel(psnr[turn - 1]) for turn in marks)


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
