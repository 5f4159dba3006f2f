"""Configurations of earlier versions: distribution matching, stage 1."""

import json

from anchoredit_jax.config import run_from_json
from anchoredit_jax.optimizer import make_schedule
from anchoredit_jax.testing import tiny_run


def stored(run, **changes):
    config = json.loads(run.to_json())
    for dotted, value in changes.items():
        section, name = dotted.split("__")
        config[section][name] = value
    return config


def test_the_generators_sampler_and_the_critics_rate_have_moved():
    now = tiny_run("distribution_matching")
    old = stored(
        now, sampler__kind="euler", sampler__guidance=2.0, options__sampler_steps=3,
        options__sampler_shift=2.0, options__timesteps=None, options__snap_shift=None,
        options__critic_learning_rate=5e-4, optimizer__steps=80, optimizer__warmup=8,
        optimizer__b2=0.98, options__critic_ratio=2,
    )  # fmt: skip
    del old["options"]["critic"], old["optimizer"]["ema_warmup"]
    run = run_from_json(json.dumps(old))
    sampler = run.sampler
    assert (sampler.kind, sampler.steps, sampler.shift) == ("few_step", 3, 2.0)
    assert sampler.guidance == 1.0
    critic = run.options.critic.beside(run.optimizer)
    assert (critic.learning_rate, critic.b2, critic.warmup) == (5e-4, 0.98, 8)
    assert critic.schedule == "constant" and run.optimizer.ema_warmup
    # 80 updates of the generator were 160 steps, and mean the same rates as ever.
    assert (run.optimizer.steps, run.optimizer.warmup) == (160, 16)
    former = tiny_run("distribution_matching", optimizer=dict(steps=80, warmup=8))
    for update in (8, 20, 50, 80):
        before = float(make_schedule(former.optimizer)(update))
        assert abs(float(make_schedule(run.optimizer)(2 * update)) / before - 1) < 1e-5


def test_todays_configurations_come_back_as_they_are():
    for stage in ("single_turn", "distribution_matching"):
        run = tiny_run(stage)
        assert run_from_json(run.to_json()) == run


def test_stage_1_could_always_start_from_nothing():
    old = stored(tiny_run("single_turn"))
    del old["options"]["from_scratch"]
    assert run_from_json(json.dumps(old)).options.from_scratch
