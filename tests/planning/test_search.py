"""Which meshes are tried, and which one is taken."""

import dataclasses

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.planning import candidates, search
from anchoredit_jax.testing import tiny_run
from tests.planning.rows import make_row


def a_run(batch=8):
    return tiny_run("single_turn", data=dict(batch=batch), model=dict(num_heads=4))


def sizes(run, chips=8, tokens=16):
    return [
        (mesh.fsdp, mesh.context, mesh.tensor, policy)
        for mesh, policy in candidates(run, chips, tokens)
    ]


def test_candidates_use_all_chips_and_divide_everything():
    found = sizes(a_run())
    assert found[:4] == [
        (8, 1, 1, "block"), (4, 2, 1, "block"), (2, 4, 1, "block"), (1, 8, 1, "block"),
    ]  # fmt: skip
    assert all(fsdp * context * tensor == 8 for fsdp, context, tensor, _ in found)
    assert all(tensor in (1, 2, 4) for _, _, tensor, _ in found)
    assert [policy for *_, policy in found] == sorted(p for *_, p in found)
    assert (8, 1, 1, "block") not in sizes(a_run(batch=4))
    with pytest.raises(UserError, match="no mesh of 7 chips divides 8 samples"):
        sizes(a_run(), chips=7, tokens=16)


def test_the_fastest_that_fits_is_taken():
    def plan(run):
        context = run.mesh.context
        seconds = dict(compute=3.0 - 0.1 * context)
        return make_row(
            mesh=dict(context=context),
            missing=5.0 if context == 1 else 0.0,
            seconds=seconds,
        )

    best, tried = search(a_run(), 8, 16, plan, tries=8)
    assert [row.mesh["context"] for row in tried] == [1, 2, 4]  # two fit: enough
    assert best.mesh["context"] == 4
    assert "context 1, block: 5.0 GiB too much" in best.note
    assert "context 2, block: 13.5 GiB, 2.8 s" in best.note


def test_the_nearest_miss_is_told_where_nothing_fits():
    def plan(run):
        lacking = 5.0 if run.model.remat == "block" else 1.0
        return make_row(missing=lacking, remat=run.model.remat)

    best, tried = search(a_run(), 8, 16, plan, tries=20)
    assert best.remat == "offload" and best.missing == 1.0 and not best.fits
    assert len(tried) == len(sizes(a_run()))
    short, tried = search(a_run(), 8, 16, plan, tries=1)
    assert len(tried) == 1 and dataclasses.replace(short, note="") == tried[0]
