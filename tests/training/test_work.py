"""The work of a step by formula, beside what the stages' own programs multiply."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax import randomness
from anchoredit_jax.errors import UserError
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import matrix_products, tiny_run
from anchoredit_jax.training.work import step_flops

# Wide enough that what the formula leaves out (sums made by products, weights of the
# attention that the backward pass makes again) is small, as at real sizes.
MODEL = dict(dim=128, ffn_dim=512, num_heads=2)
FRAMES, SIDE, ROWS, TEXT = 5, 8, 2, 4
TOKENS = (SIDE // 2) ** 2


def traced(run, trips=()) -> int:
    """Products in the jaxpr of one step; `trips` of its while loops, in order."""
    module = STAGES[run.stage]
    parent = jax.eval_shape(
        lambda: STAGES["single_turn"].init_state(run.replace(stage="single_turn"))
    ).params
    state = jax.eval_shape(
        lambda tree: module.init_state(run, dict(params=tree, ema=tree, teacher=tree)),
        parent,
    )
    turns = FRAMES - 1
    batch = dict(
        latents=jnp.zeros((ROWS, FRAMES, SIDE, SIDE, 4)),
        text=jnp.zeros((ROWS, turns, TEXT, 8)),
        null_text=jnp.zeros((ROWS, TEXT, 8)),
        id=jnp.arange(ROWS),
        frame_valid=jnp.ones((ROWS, FRAMES)),
        answers=jnp.zeros((ROWS, FRAMES, SIDE, SIDE)),
    )
    step = jax.make_jaxpr(module.make_train_step(run).step)(state, batch)
    return matrix_products(step.jaxpr, trips)


def counted(run) -> float:
    return step_flops(run, FRAMES, TOKENS, ROWS, "most").total


def a_run(stage, draws=4, **options):
    return tiny_run(stage, model=MODEL, options=options, sampler=dict(steps=draws))


@pytest.mark.parametrize(
    ("stage", "options", "trips"),
    [
        ("single_turn", dict(), ()),
        ("causal_forcing", dict(), ()),
        ("causal_forcing", dict(history="beside"), ()),
        ("causal_forcing", dict(attention="bidirectional"), ()),
        ("causal_forcing", dict(attention="teacher_forcing"), ()),
        ("causal_forcing", dict(rollout=dict(kind="one_pass")), ()),
        (
            "causal_forcing",
            dict(history="beside", rollout=dict(kind="one_pass")),
            (),
        ),
        (
            "causal_forcing",
            dict(rollout=dict(kind="sequential", sampler_steps=3)),
            (FRAMES - 2,),
        ),
        ("consistency", dict(guidance=1.0), ()),
        ("consistency", dict(guidance=3.0), ()),
        # The generator's rollout and its draws for frame k, then the critic's rollout.
        ("distribution_matching", dict(guidance=7.0), (FRAMES - 2, 3, FRAMES - 1)),
        ("distribution_matching", dict(draws=2), (FRAMES - 2, 1, FRAMES - 1)),
    ],
)
def test_the_step_multiplies_what_is_counted(stage, options, trips):
    run = a_run(stage, **options)
    assert counted(run) == pytest.approx(traced(run, trips), rel=0.02)


def means(stage, frames=FRAMES, **options):
    run = a_run(stage, **options)
    return {one.what: one.mean for one in STAGES[stage].passes(run, frames)}


def test_the_mean_is_over_drawn_turns_steps_and_rates():
    frames, steps, ratio = FRAMES, 4, 5
    turns = np.arange(1, frames)
    found = means("distribution_matching", draws=steps, critic_ratio=ratio)
    assert found == pytest.approx(
        {
            "critic rollout source": 1,
            "critic rollout draw": np.mean(turns * steps),
            "critic rollout commit": np.mean(turns),
            "critic": 1,
            "rollout source": 1 / ratio,
            "rollout draw": np.mean((turns - 1) * steps) / ratio,
            "rollout commit": np.mean(turns - 1) / ratio,
            "last draws": np.mean(np.arange(steps)) / ratio,
            "target": 1 / ratio,
            "real score": 1 / ratio,
            "fake score": 1 / ratio,
        }
    )
    rollout = dict(kind="sequential", sampler_steps=2, fraction=0.5)
    assert means("causal_forcing", rollout=rollout) == pytest.approx(
        {
            "target": 1,
            "rollout source": 0.5,
            "rollout draw": 0.5 * 2 * np.mean(turns[:-1]),
            "rollout commit": 0.5 * np.mean(turns[:-1]),
        }
    )
    one_pass = dict(kind="one_pass", fraction=0.25)
    assert means("causal_forcing", rollout=one_pass)["rollout"] == 0.25


@pytest.mark.parametrize("frames", [2, 3, 5])
@pytest.mark.parametrize("stage", ["causal_forcing", "distribution_matching"])
def test_counts_of_turns_are_those_that_are_drawn(stage, frames):
    """Over 400 steps: the mean and the largest number of turns that a step makes."""
    if stage == "causal_forcing":
        run = a_run(stage, rollout=dict(kind="sequential", sampler_steps=1))
        what, high = "rollout commit", frames - 1
    else:
        run, what, high = a_run(stage), "critic rollout commit", frames
    keys = jax.random.split(jax.random.key(0), 400)
    drawn = jax.vmap(lambda key: randomness.integer(key, 1, high))(keys)
    (one,) = (x for x in STAGES[stage].passes(run, frames) if x.what == what)
    assert one.mean == pytest.approx(float(drawn.mean()), rel=0.08)
    assert one.most == int(drawn.max())


def test_parts_and_passes_add_up():
    run = a_run("consistency")
    work = step_flops(run, FRAMES, TOKENS, ROWS)
    assert sum(work.parts.values()) == pytest.approx(work.total)
    assert sum(one.total for one in work.passes) == pytest.approx(work.total)
    assert set(work.parts) == {"linear", "attention", "prompts", "embedding", "rest"}
    assert step_flops(run, FRAMES, TOKENS, 3 * ROWS).total == 3 * work.total
    target = {one.of.what: one for one in work.passes}["target"]
    assert target.parts["linear"] == 3 * target.forward["linear"]
    with pytest.raises(UserError, match="one of .*, got 'least'"):
        step_flops(run, FRAMES, TOKENS, ROWS, "least")
