"""Sprite sessions and their perfect images, for the tests of data and of evaluation."""

import numpy as np
import pytest

from anchoredit_jax.data.sprites import held_out_sessions, render_truth, story_sessions


@pytest.fixture(scope="session")
def sessions():
    return held_out_sessions(12, 6)


@pytest.fixture(scope="session")
def perfect(sessions) -> np.ndarray:
    return render_truth(sessions, 32)[:, 1:]


@pytest.fixture(scope="session")
def stories():
    return story_sessions(6)


@pytest.fixture(scope="session")
def perfect_stories(stories) -> np.ndarray:
    return render_truth(stories, 32)[:, 1:]
