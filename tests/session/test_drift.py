"""Drift is what adds up where no turn made an edit that one sees."""

import types

import numpy as np
import pytest

from anchoredit_jax.session.drift import VISIBLE, measure_drift


def history(*frames):
    return [types.SimpleNamespace(pixels=frame.astype(np.uint8)) for frame in frames]


def test_an_edit_is_no_drift_and_what_creeps_is():
    source = np.full((20, 30, 3), 100)
    creeping = [source + 3 * turn for turn in range(4)]
    for frame in creeping[1:]:
        frame[5:10, 5:15] += VISIBLE + 100  # stays edited from turn 1 on
    drift = measure_drift(history(*creeping))
    assert drift.untouched == pytest.approx([0, 3, 6, 9])
    assert drift.share == pytest.approx(1 - 7 * 12 / 600)  # a pixel around it, too
    edited = 50 / 600
    expected = [0, *(3 * turn + edited * (VISIBLE + 100) for turn in (1, 2, 3))]
    assert drift.whole == pytest.approx(expected)


def test_where_every_part_was_edited_no_drift_is_told():
    source = np.zeros((8, 8, 3))
    drift = measure_drift(history(source, source + VISIBLE + 1))
    assert drift.untouched is None and drift.share == 0
    assert drift.whole == [0, VISIBLE + 1]
    kept = measure_drift(history(source, source + VISIBLE))
    assert kept.untouched == [0, VISIBLE] and kept.share == 1


def test_large_images_are_looked_at_in_part():
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 20, (1000, 300, 3)) for _ in range(2)]
    drift = measure_drift(history(*frames))
    apart = np.abs(frames[1] - frames[0]).mean()
    assert drift.whole[1] == pytest.approx(apart, rel=0.02)
    assert drift.untouched == drift.whole
