"""The shipped configurations: where they train, and what they hand down."""

import numpy as np
import pytest

from anchoredit_jax.config import RunConfig, load_config, run_from_json
from anchoredit_jax.errors import UserError
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing.noise_levels import (
    asked_levels,
    describe,
    draw_targets,
    shares,
)

SHIPPED = {
    "sprites": "configs/sprites.py:",
    "sessions": "configs/sessions.py:path=prepared,",
    "wan_1_3b": "configs/wan_1_3b.py:",
    "wan_14b": "configs/wan_14b.py:",
    "reproduce": "configs/reproduce.py:",
}
DISTILLED = ("consistency", "distribution_matching")
LEAST = 0.15  # of all targets, between a level that the sampler visits and the next


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def run_of(name, stage, rest="") -> RunConfig:
    return load_config(f"{SHIPPED[name]}stage={stage}{rest}")


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("stage", STAGES)
def test_training_covers_every_level_that_sampling_visits(name, stage):
    run = run_of(name, stage)
    found = shares(run, draw_targets(run))
    assert found.sum() == pytest.approx(1.0)
    assert (found >= LEAST).all(), describe(run)


def test_the_measure_sees_what_is_not_covered():
    """Wan's former settings: nine tenths below the last level that editing asks."""
    former = dict(lower_max=0.3, last_min=0.0, shift=1.0, shift_frames=False,
                  minimum=20.0, maximum=980.0)  # fmt: skip
    levels = ",".join(f"options.timesteps.{k}={v}" for k, v in former.items())
    run = run_of("wan_14b", "single_turn", f",{levels}")
    np.testing.assert_allclose(asked_levels(run), [1000, 937.5, 833.3, 625], rtol=1e-4)
    drawn = draw_targets(run)
    assert drawn.mean() == pytest.approx(325, abs=3)
    assert shares(run, drawn)[-1] > 0.89 and (shares(run, drawn)[:2] < 0.02).all()
    assert "mean 32" in describe(run)


@pytest.mark.parametrize("name", SHIPPED)
def test_checkpoints_edit_with_the_sampler_of_their_stage(name):
    for stage in STAGES:
        sampler = run_of(name, stage).sampler
        if stage in DISTILLED:
            assert (sampler.kind, sampler.guidance) == ("few_step", 1.0)
            tiny = name == "reproduce" and stage == "distribution_matching"
            assert sampler.steps == (2 if tiny else 4)
        elif name.startswith("wan"):
            assert sampler.kind == "euler" and sampler.steps >= 40
            assert sampler.guidance == sampler.shift == 5.0
        else:
            assert (sampler.kind, sampler.steps) == ("euler", 4)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("recipe", ["ours", "reference"])
def test_only_toys_may_start_from_nothing(name, recipe):
    rest = "" if name == "reproduce" else f",recipe={recipe}"
    options = run_of(name, "single_turn", rest).options
    assert options.from_scratch == (not name.startswith("wan"))


def test_rates_follow_the_batch_and_averages_the_length():
    batch = {}
    for name, pod in (("wan_14b", "v5p:4x4x4"), ("wan_1_3b", "v5e:4x4"),
                      ("wan_1_3b", "v5p:2x2x2")):  # fmt: skip
        run = run_of(name, "causal_forcing", f",pod={pod}")
        batch[name, run.data.batch] = run.optimizer.learning_rate
    assert batch["wan_14b", 64] == pytest.approx(1e-5)
    assert batch["wan_1_3b", 8] / batch["wan_1_3b", 4] == pytest.approx(2**0.5)
    for stage in STAGES:
        run = run_of("wan_14b", stage)
        updates = run.optimizer.steps
        if stage == "distribution_matching":
            updates //= run.options.critic_ratio
            assert run.optimizer.learning_rate == pytest.approx(1e-6)
            assert run.options.critic.learning_rate is None  # 5 times that
            assert (run.optimizer.b1, run.options.critic.b1) == (0.0, 0.0)
        assert not run.optimizer.ema_warmup
        assert run.optimizer.ema**updates < 0.01  # what is left of the start


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["sprites", "sessions", "wan_14b"])
def test_the_references_numbers(name, stage):
    run = run_of(name, stage, ",recipe=reference")
    assert run_from_json(run.to_json()) == run
    assert run.memory.window is None and run.memory.positions == "absolute"
    assert run.optimizer.b2 == 0.999 and run.data.skip_probability == 0.0
    options = run.options
    assert bool(run.sampler.negative) == (name == "wan_14b")
    if stage == "single_turn":
        assert options.attention == "bidirectional" and run.data.turns == 1
        assert options.clean_source == options.loss.edit_weight == 0.0
    if stage == "causal_forcing":
        assert options.history == "in_sequence" and options.clean_history == 0.0
        assert options.rollout.kind == "one_pass" and options.rollout.maximum == 1000.0
        assert options.degrade.round_trip == 0.1 and not options.memory_policies
    if stage in ("single_turn", "causal_forcing"):
        drawn = draw_targets(run)
        assert drawn.mean() == pytest.approx(644, abs=2)
        assert np.mean(drawn > 833) == pytest.approx(0.08, abs=0.005)
        assert (drawn.min() >= 20) and (drawn.max() < 980)
    if stage == "consistency":
        assert (options.grid_steps, options.shift, options.guidance) == (48, 5.0, 3.0)
    if stage == "distribution_matching":
        assert run.sampler.timesteps == (1000.0, 750.0, 500.0, 250.0)
        assert (options.guidance, options.critic_ratio) == (7.0, 5)
        assert run.optimizer.learning_rate == 1e-6
        assert options.critic.learning_rate == 5e-6
        assert run.optimizer.b1 == options.critic.b1 == 0.0


def test_an_unknown_recipe_is_one_line():
    with pytest.raises(UserError, match="unknown recipe 'theirs'.*ours, reference"):
        run_of("sprites", "single_turn", ",recipe=theirs")
