"""Operations by formula, against the equations of the real programs."""

import pytest

from anchoredit_jax.planning.formula import step_operations, turn_operations
from anchoredit_jax.testing import tiny_run
from anchoredit_jax.training.work import step_flops


def a_run(stage="causal_forcing", **model):
    return tiny_run(stage, model=model, data=dict(turns=5, batch=4))


def test_nothing_is_repeated_without_rematerialisation():
    run = a_run()
    operations = step_operations(run, 16)
    assert operations.rematerialised == operations.kernels == 0
    assert operations.model == step_flops(run, 6, 16, 4, "most").total
    assert operations.total == operations.model


def test_policies_repeat_the_forward_pass_of_blocks():
    forward = step_flops(a_run(), 6, 16, 4, "most").passes[0].forward
    blocks = forward["linear"] + forward["prompts"] + forward["attention"]
    for policy in ("block", "offload"):
        assert step_operations(a_run(remat=policy), 16).rematerialised == blocks
    kept = step_operations(a_run(remat="attention"), 16).rematerialised
    assert kept == blocks - forward["attention"]


def test_kernels_make_logits_again():
    forward = step_flops(a_run(), 6, 16, 4, "most").passes[0].forward
    assert step_operations(a_run(attention="splash"), 16).kernels == pytest.approx(
        1.5 * forward["attention"]
    )


def test_causal_frames_cost_less_than_all_to_all():
    operations = step_operations(a_run(), 16)
    assert operations.attention / operations.dense_attention == pytest.approx(21 / 36)
    star = step_operations(a_run("single_turn"), 16)  # the source and itself
    assert star.attention / star.dense_attention == pytest.approx(11 / 36)


def test_memory_policies_count_by_the_one_that_sees_most_and_in_the_mean():
    """Of three, one is the full history and two see the source and the last frame."""
    run = tiny_run(
        "causal_forcing",
        data=dict(turns=5, batch=4),
        options=dict(history="beside", memory_policies=((0, 0), (1, 1), (1, 1))),
    )
    full = tiny_run(
        "causal_forcing",
        data=dict(turns=5, batch=4),
        options=dict(history="beside"),
    )
    ours, theirs = step_operations(run, 16), step_operations(full, 16)
    assert ours.model == theirs.model and ours.attention == theirs.attention
    # History 0..4 by turn, then targets 1..5: 15 + 20 pairs, against 12 + 14.
    of_pairs = ours.attention / 35
    assert theirs.model - ours.mean == pytest.approx(of_pairs * 2 / 3 * (35 - 26))
    assert theirs.mean == theirs.model


def test_a_turn_is_its_draws_and_a_commit_beside_a_full_memory():
    run = tiny_run(
        "single_turn",
        memory=dict(sink=1, window=4),
        sampler=dict(kind="few_step", steps=4, shift=5.0),
    )
    once = turn_operations(run, 16)
    model = run.model
    attention = 5 * model.num_layers * 4 * 6 * 16**2 * model.dim
    assert once.attention == once.dense_attention == attention
    guided = tiny_run(
        "single_turn",
        memory=dict(sink=1, window=4),
        sampler=dict(kind="few_step", steps=4, shift=5.0, guidance=2.0),
    )
    assert turn_operations(guided, 16).model == 2 * once.model
    assert turn_operations(run, 16, rows=3).model == 3 * once.model


def test_a_turn_embeds_its_instruction_once_in_each_of_its_two_programs():
    def operations(steps):
        sampler = dict(kind="few_step", steps=steps, shift=5.0)
        run = tiny_run("single_turn", sampler=sampler)
        return turn_operations(run, 16).model

    run = tiny_run("single_turn")
    model = run.model
    embedding = 2 * run.text.length * (model.text_dim + model.dim) * model.dim
    draw = operations(2) - operations(1)
    assert operations(1) == pytest.approx(2 * (draw + embedding))
