"""Ambiguous instructions: one edit with several right answers, drawn several times."""

import itertools
from collections.abc import Sequence

import numpy as np

from anchoredit_jax.data.sprites import SpriteScores, ambiguous_sessions
from anchoredit_jax.diffusion.sampler_text import sampler_title
from anchoredit_jax.evaluation.cases import (
    Case,
    score_cases,
    sprite_cases,
    sprite_views,
)
from anchoredit_jax.evaluation.runs import Job, Part, run_cases
from anchoredit_jax.evaluation.summary import bootstrap_mean
from anchoredit_jax.evaluation.table import Table, show, text_table

SHARP = 0.8  # share of the right answer's gradients that counts as sharp


def _run(job: Job, cases: Sequence[Case]) -> dict[str, dict]:
    """`summarise_ambiguous` by sampler; the memory holds only the source."""
    contestant, run = job.contestant, job.contestant.editor.run
    answers = np.array([len(case.sprite.edits[0].valid) for case in cases])
    results = {}
    for sampler in contestant.ambiguous_samplers:
        title, scores = sampler_title(sampler, run.sampler), []
        for repetition in range(job.settings.repetitions):
            store = run_cases(job, cases, title, run.memory, sampler, repetition)
            scores.append(score_cases(cases, [store.read(case) for case in cases]))
        results[title] = summarise_ambiguous(scores, answers)
    return results


def summarise_ambiguous(scores: list[SpriteScores], answers: np.ndarray) -> dict:
    """The numbers of one sampler.

    Args:
      scores: one per repetition, of the same sessions of one edit.
      answers: int [n], how many answers of each session are right.

    Returns:
      per kind and for "all": "valid" (a PSNR of 20 dB or more against a right answer),
      "sharpness", "sharp" (sharpness of at least `SHARP`), "valid_and_sharp", and
      "diversity": how often two repetitions, both valid, choose different answers,
      relative to a fair choice (1: fair, 0: always the same one; None with one
      repetition).
    """
    kinds = scores[0].kinds[:, 0]
    valid = np.stack([s.success[:, 0] for s in scores], 1)
    sharpness = np.stack([s.sharpness[:, 0] for s in scores], 1)
    sharp = (sharpness >= SHARP).astype(np.float64)
    choices = np.stack([s.answer[:, 0] for s in scores], 1)
    values = {
        "valid": valid,
        "sharpness": sharpness,
        "sharp": sharp,
        "valid_and_sharp": valid * sharp,
        "diversity": _diversity(choices, valid, answers),
    }
    result: dict = {"sessions": len(kinds), "repetitions": len(scores)}
    for kind in ["all", *sorted(set(kinds.tolist()))]:
        rows = np.full(len(kinds), True) if kind == "all" else kinds == kind
        result[kind] = {name: bootstrap_mean(v[rows]) for name, v in values.items()}
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


def _blocks(table: Table, checkpoint: str) -> list[str]:
    """A line a sampler and kind."""
    rows = table.where(part=PART.name, checkpoint=checkpoint)
    lines = [
        (sampler, own.where(kind=kind))
        for sampler in rows.names("run")
        for own in [rows.where(run=sampler)]
        for kind in own.names("kind")
    ]
    columns = {
        "kind": lambda rows: rows.rows[0].kind,
        "valid": show("valid", interval=True),
        "sharp": show("sharp"),
        "valid and sharp": show("valid_and_sharp"),
        "sharpness": show("sharpness", 2),
        "diversity": show("diversity", 2),
    }
    return [text_table("ambiguous instructions", lines, columns)]


PART = Part(
    name="ambiguous",
    title="Ambiguous instructions",
    cases=lambda settings, editor: sprite_cases(
        ambiguous_sessions(settings.ambiguous_sessions, settings.seed),
        sprite_views(settings, editor),
    ),
    run=_run,
    numbers=lambda results: results,
    blocks=_blocks,
)
