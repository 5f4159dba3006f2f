"""PSNR over regions and bootstrap means."""

import numpy as np
import pytest

from anchoredit_jax.data.pixel_error import MAX_PSNR, psnr, region_mse, squared_error
from anchoredit_jax.evaluation.summary import bootstrap_mean


def test_psnr_of_known_errors():
    assert psnr(np.array([0.01, 1.0])) == pytest.approx([20.0, 0.0])
    assert psnr(np.array(0.0)) == MAX_PSNR


def test_squared_error_is_of_unit_range_and_does_not_wrap():
    black, white = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    assert squared_error(black, white) == pytest.approx(1.0)


def test_region_mse_counts_only_the_region():
    error = np.array([[[1.0, 3.0], [100.0, 100.0]]] * 2)
    region = np.array([[[True, True], [False, False]], [[False] * 2] * 2])
    result = region_mse(error, region)
    assert result[0] == 2.0 and np.isnan(result[1])


def test_bootstrap_mean_ignores_missing_values():
    values = np.array([[1.0, np.nan], [0.0, 1.0], [np.nan, np.nan]])
    result = bootstrap_mean(values)
    assert result["mean"] == pytest.approx(2 / 3) and result["count"] == 3
    assert 0 <= result["low"] <= result["mean"] <= result["high"] <= 1


def test_bootstrap_mean_of_nothing_is_none():
    assert bootstrap_mean(np.full((3, 2), np.nan)) == {
        "mean": None,
        "low": None,
        "high": None,
        "count": 0,
    }


def test_bootstrap_interval_has_the_width_of_the_normal_one():
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    result = bootstrap_mean(values, draws=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert result["high"] - result["low"] == pytest.approx(2 * half, rel=0.08)


def test_bootstrap_draws_sessions_not_turns():
    # Ten equal turns of a session say no more than one of them.
    rows = np.random.default_rng(0).normal(size=(50, 1))
    assert bootstrap_mean(rows) == pytest.approx(
        {**bootstrap_mean(np.repeat(rows, 10, 1)), "count": 50}
    )
