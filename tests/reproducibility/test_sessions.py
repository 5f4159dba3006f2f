"""Row 22 of the user reports: a session is a function of (weights, image,
instructions, seed), whatever else is edited, in whatever order, beside what."""

import dataclasses

import numpy as np
import pytest

from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.reproducibility import sessions, table
from tests.session.conftest import editor, params  # noqa: F401
from tests.session.editors import make_editor


@pytest.fixture(scope="module")
def guided(params):  # noqa: F811
    """Each session holds two memories then, which a batch orders in another way."""
    return make_editor(params, sampler=SamplerConfig(steps=2, guidance=1.5))


@pytest.mark.parametrize("name", ["editor", "guided"])
def test_sessions_repeat_in_every_bit(name, request):
    made = request.getfixturevalue(name)
    other = dataclasses.replace(made) if name == "editor" else None
    outcomes = sessions.judge_all(made, sessions.scripts(16, turns=4), other)
    assert all(outcome.passed for outcome in outcomes), table(outcomes)
    *exact, batch = outcomes
    assert len(exact) == (5 if other else 4)
    assert {outcome.result for outcome in exact} == {"bit-equal, 12 turns"}
    assert batch.trial == "several in one batch"


def test_sessions_that_differ_are_seen(editor):  # noqa: F811
    asked = sessions.scripts(16, turns=2, count=2)
    alone = sessions.interleaved(editor, asked)
    for way in (
        [dataclasses.replace(script, seed=1) for script in asked],
        [dataclasses.replace(s, image=255 - s.image) for s in asked],
        [dataclasses.replace(s, instructions=("a hat",) * 2) for s in asked],
        asked[::-1],
    ):
        made = sessions.interleaved(editor, way)
        outcome = sessions._judge("x", alone, made, "", sessions.TOLERANCE)
        assert not outcome.passed and "differ by at most" in outcome.result


def test_the_smallest_difference_of_a_latent_is_seen():
    alone = [np.ones((2, 3), np.float32)]
    made = [np.nextafter(alone[0], np.float32(2))]
    assert not sessions._judge("x", alone, made, "", 0.0).passed
    assert sessions._judge("x", alone, made, "", 1e-6).passed
    assert sessions._judge("x", alone, alone, "", 0.0).passed
