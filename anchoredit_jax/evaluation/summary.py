"""From scores of single frames to the numbers that are reported."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from anchoredit_jax.data.sprites.scores import SpriteScores
from anchoredit_jax.evaluation.cases import Case
from anchoredit_jax.evaluation.measures import codec_error
from anchoredit_jax.evaluation.statistics import bootstrap_mean
from anchoredit_jax.models.codec import Codec

# The scores that are followed over the turns.
PER_TURN = (
    "success",
    "subject_psnr",
    "retrieved",
    "untouched_psnr",
    "covered_psnr",
    "state",
)
SHARP = 0.8  # share of the right answer's gradients that counts as sharp


def followed(scores: SpriteScores) -> dict[str, np.ndarray]:
    """The scores of `PER_TURN` by name, float [n, N]."""
    return {name: getattr(scores, name) for name in PER_TURN}


def summarise(
    measures: Mapping[str, np.ndarray], scores: SpriteScores | None = None
) -> dict:
    """The numbers of one policy, ready for JSON.

    Every number is {"mean", "low", "high", "count"}, see `bootstrap_mean`; PSNRs are
    means of the sessions' values in dB.

    Args:
      measures: by name, float [n, N].
      scores: of sprite sessions.

    Returns:
      "per_turn": for every measure a list over the turns; of sprites also "success"
      over all turns, and "success_by_kind".
    """
    sessions, turns = next(iter(measures.values())).shape
    summary = {
        "sessions": sessions,
        "turns": turns,
        "per_turn": {
            name: [bootstrap_mean(values[:, turn]) for turn in range(turns)]
            for name, values in measures.items()
        },
    }
    if scores is not None:
        summary["success"] = bootstrap_mean(scores.success)
        summary["success_by_kind"] = {
            str(kind): bootstrap_mean(
                np.where(scores.kinds == kind, scores.success, np.nan)
            )
            for kind in np.unique(scores.kinds)
        }
    return summary


def by_shape(summary: Callable[[Any], dict]) -> Callable[[Any], dict]:
    """A summary of a `PolicyRun` that also tells the shapes apart.

    Where its cases have several shapes, "by_shape" holds the same summary of each.
    """

    def whole_and_parts(run) -> dict:
        told, shapes = summary(run), run.by_shape()
        if len(shapes) > 1:
            told["by_shape"] = {
                shape: summary(run.of(rows)) for shape, rows in shapes.items()
            }
        return told

    return whole_and_parts


def summarise_story(scores: SpriteScores) -> dict:
    """The scripted cover-and-uncover test: what comes back at the last turn.

    Returns:
      "uncover" (edit success of the last turn), "retrieved" and "subject_psnr" there,
      "covered_psnr" over the turns under cover, and "covered_psnr_last", the turn
      before the uncovering.
    """
    return {
        "sessions": len(scores.success),
        "uncover": bootstrap_mean(scores.success[:, -1]),
        "retrieved": bootstrap_mean(scores.retrieved[:, -1]),
        "subject_psnr": bootstrap_mean(scores.subject_psnr[:, -1]),
        "covered_psnr": bootstrap_mean(scores.covered_psnr),
        "covered_psnr_last": bootstrap_mean(scores.covered_psnr[:, -2]),
    }


def summarise_ambiguous(scores: list[SpriteScores], answers: np.ndarray) -> dict:
    """The ambiguous instructions, each drawn several times with other noise.

    Args:
      scores: one per repetition, of the same sessions of one edit.
      answers: int [n], how many answers of each session are right.

    Returns:
      per kind and for "all": "valid" (within 20 dB of a right answer), "sharpness",
      "sharp" (sharpness of at least `SHARP`), "valid_and_sharp", and "diversity": how
      often two repetitions, both valid, choose different answers, relative to a fair
      choice (1: fair, 0: always the same one; None with one repetition).
    """
    kinds = scores[0].kinds[:, 0]
    valid = np.stack([s.success[:, 0] for s in scores], 1)
    sharpness = np.stack([s.sharpness[:, 0] for s in scores], 1)
    sharp = (sharpness >= SHARP).astype(np.float64)
    choices = np.stack([s.answer[:, 0] for s in scores], 1)
    diversity = _diversity(choices, valid, answers)
    result = {"sessions": len(kinds), "repetitions": len(scores)}
    for kind in ["all", *sorted(set(kinds.tolist()))]:
        rows = np.full(len(kinds), True) if kind == "all" else kinds == kind
        result[kind] = {
            "valid": bootstrap_mean(valid[rows]),
            "sharpness": bootstrap_mean(sharpness[rows]),
            "sharp": bootstrap_mean(sharp[rows]),
            "valid_and_sharp": bootstrap_mean((valid * sharp)[rows]),
            "diversity": bootstrap_mean(diversity[rows]),
        }
    return result


def summarise_codec(codec: Codec, cases: Sequence[Case]) -> list[dict]:
    """What the codec alone costs, by the precision of encoding and of decoding.

    Sessions encode in float32 always; the other lines show why (see `codec_error`).
    """
    images = [case.source for case in cases]
    return [
        {
            "encode": trip.encode_dtype,
            "decode": trip.decode_dtype,
            **{
                name: bootstrap_mean(getattr(trip, name))
                for name in ("psnr", "ssim", "latent_error")
            },
        }
        for trip in codec_error(codec, images)
    ]


def compare(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> dict:
    """Second minus first on the same sessions, paired.

    Returns:
      for each measure at the last turn (name with "_last"), and for "success" over all
      turns: {"mean", "low", "high", "count"} of the difference; an interval that leaves
      out 0 is a difference that other sessions would show as well.
    """
    common = [name for name in first if name in second]
    result = {
        f"{name}_last": bootstrap_mean(second[name][:, -1] - first[name][:, -1])
        for name in common
    }
    if "success" in common:
        result["success"] = bootstrap_mean(second["success"] - first["success"])
    return result


def _diversity(choices, valid, answers) -> np.ndarray:
    """[n, 1]: how often two valid repetitions differ, over the fair rate."""
    different, pairs = np.zeros(len(choices)), np.zeros(len(choices))
    for a, b in itertools.combinations(range(choices.shape[1]), 2):
        both = (valid[:, a] > 0) & (valid[:, b] > 0)
        pairs += both
        different += both & (choices[:, a] != choices[:, b])
    fair = 1.0 - 1.0 / answers
    rate = different / np.maximum(pairs, 1) / fair
    return np.where(pairs > 0, rate, np.nan)[:, None]
