"""What stages take over from those they may start from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.checkpoint.assets import Weights
from anchoredit_jax.config import load_config
from anchoredit_jax.encoders import make_text_encoder
from anchoredit_jax.errors import UserError
from anchoredit_jax.stages.stage import IMPORTED
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import tiny_params, tiny_run
from anchoredit_jax.training import loop
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.parents import find_parent
from tests.training.real_stages import real_spec

ORDER = {
    "single_turn": ("single_turn", IMPORTED),
    "causal_forcing": ("single_turn", "causal_forcing"),
    "consistency": ("causal_forcing", "consistency"),
    "distribution_matching": (
        "consistency", "causal_forcing", "distribution_matching",
    ),
}  # fmt: skip


def test_the_natural_parent_is_looked_for_first():
    assert {name: stage.parents for name, stage in STAGES.items()} == ORDER


def filled(value):
    return jax.tree.map(lambda x: jnp.full(x.shape, value), tiny_params())


def value_of(tree):
    (value,) = {float(leaf.flat[0]) for leaf in jax.tree.leaves(jax.device_get(tree))}
    return value


def test_what_goes_on_and_what_starts_as_the_average():
    run = tiny_run("consistency")
    fresh = STAGES["consistency"].init_state(run, dict(ema=filled(1.0)))
    assert value_of(fresh.params) == value_of(fresh.teacher) == 1.0
    again = STAGES["consistency"].init_state(
        run, dict(ema=filled(1.0), teacher=filled(2.0))
    )
    assert (value_of(again.params), value_of(again.teacher)) == (1.0, 2.0)
    run = tiny_run("distribution_matching")
    init = STAGES["distribution_matching"].init_state
    for parent, expected in (
        (dict(ema=1.0), (1.0, 1.0, 1.0)),  # causal_forcing
        (dict(ema=1.0, teacher=2.0), (1.0, 2.0, 2.0)),  # consistency
        (dict(ema=1.0, teacher=2.0, critic=3.0), (1.0, 2.0, 3.0)),  # its own
    ):
        state = init(run, {name: filled(value) for name, value in parent.items()})
        found = (state.params, state.teacher, state.critic)
        assert tuple(map(value_of, found)) == expected


def spec(stage):
    return load_config(real_spec(stage, 2))


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """causal_forcing, and distribution matching from it: two workdirs."""
    workdir = tmp_path_factory.mktemp("chain")
    run_stage(spec("single_turn"), workdir, quiet=True)
    run_stage(spec("causal_forcing"), workdir, quiet=True)
    run_stage(spec("distribution_matching"), workdir, quiet=True)
    return workdir


def trees_of(folder, *names):
    step = manager.latest_step(folder / "checkpoints")
    return [
        manager.read_item(folder / "checkpoints" / str(step), name, None)
        for name in names
    ]


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_distribution_matching_starts_from_causal_forcing_and_goes_on(chain):
    """From the workdir's causal forcing where there is no consistency; and again from
    itself, with its own teacher and critic."""
    folder = chain / "distribution_matching"
    (average,) = trees_of(chain / "causal_forcing", "ema")
    teacher, critic = trees_of(folder, "teacher", "critic")
    assert_equal(teacher, average)
    run = spec("distribution_matching")
    weights, trees = find_parent(run, chain, folder)
    assert weights.lineage.stage == "distribution_matching"
    state = STAGES[run.stage].init_state(run, trees)
    assert_equal(state.teacher, teacher)
    assert_equal(state.critic, critic)
    assert_equal(state.params, weights.params)


def test_weights_alone_have_no_teacher_to_go_on_with(chain):
    run = spec("distribution_matching")
    weights, _ = find_parent(run, chain, chain / "distribution_matching")
    assert isinstance(weights, Weights)
    with pytest.raises(UserError, match="which only a training checkpoint holds"):
        find_parent(run, chain, weights)
    # Of causal forcing the average is the teacher: weights are enough.
    weights, _ = find_parent(run, chain, chain / "causal_forcing")
    _, trees = find_parent(run, chain, weights)
    assert "teacher" not in trees


@pytest.mark.parametrize("sampler", ["kind=euler", "guidance=2.0"])
def test_a_generator_is_trained_for_a_few_unguided_steps_or_not_at_all(
    chain, tmp_path, sampler
):
    run = load_config(
        f"configs/sprites.py:stage=distribution_matching,sampler.{sampler}"
    )
    with pytest.raises(UserError, match="must be few_step with guidance 1"):
        STAGES[run.stage].init_state(run, dict(ema=tiny_params()))
    assert not list(tmp_path.iterdir())


def test_the_unconditional_text_of_a_batch_is_the_samplers():
    run = load_config("configs/sprites.py:data.batch=2,sampler.negative=blurred edges")
    plain = load_config("configs/sprites.py:data.batch=2")
    ours, null = (
        loop.make_dataset(one, *loop.make_codec_and_text(one))[3]["null_text"]
        for one in (run, plain)
    )

    expected = make_text_encoder(run.text).encode(["blurred edges"])[0]
    np.testing.assert_array_equal(ours, np.stack([expected] * 2))
    assert np.abs(ours - null).max() > 0.1
