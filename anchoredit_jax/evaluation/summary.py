"""From scores of single frames to the numbers that are reported."""

import itertools

import numpy as np

from anchoredit_jax.evaluation.sprites import SpriteScores
from anchoredit_jax.evaluation.statistics import bootstrap_mean

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


def summarise(scores: SpriteScores) -> dict:
    """The numbers of one policy on held-out sessions, ready for JSON.

    Every number is {"mean", "low", "high", "count"}, see `bootstrap_mean`; PSNRs are
    means of the sessions' values in dB.

    Returns:
      "success" over all turns, "success_by_kind", and "per_turn": for every score of
      `PER_TURN` a list over the turns.
    """
    turns = scores.success.shape[1]
    return {
        "sessions": len(scores.success),
        "turns": turns,
        "success": bootstrap_mean(scores.success),
        "success_by_kind": {
            str(kind): bootstrap_mean(
                np.where(scores.kinds == kind, scores.success, np.nan)
            )
            for kind in np.unique(scores.kinds)
        },
        "per_turn": {
            name: [bootstrap_mean(getattr(scores, name)[:, t]) for t in range(turns)]
            for name in PER_TURN
        },
    }


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


def compare_scores(first: SpriteScores, second: SpriteScores) -> dict:
    """Second minus first on the same sessions, paired.

    Returns:
      for "success" (all turns) and each score of `PER_TURN` at the last turn (name
      with "_last"): {"mean", "low", "high", "count"} of the difference; an interval
      that leaves out 0 is a difference that other sessions would show as well.
    """
    result = {"success": bootstrap_mean(second.success - first.success)}
    for name in PER_TURN:
        difference = getattr(second, name)[:, -1] - getattr(first, name)[:, -1]
        result[f"{name}_last"] = bootstrap_mean(difference)
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
