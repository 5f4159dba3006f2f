"""Rollouts: what a session becomes depends on itself only.

All tests but two share two compiled programs: batches of 2, the memory and the sampler
below, which are also those of the report's tests.
"""

import functools
import types

import jax
import numpy as np
import pytest

from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models.codec import from_uint8, to_uint8
from anchoredit_jax.parallel import MeshConfig, make_mesh, state_shardings
from anchoredit_jax.session import rollout
from anchoredit_jax.session.rollout import iterate_rollouts, rollout_sessions

MEMORY = MemoryConfig(1, 1)
SAMPLER = SamplerConfig("few_step", 2, 3.0)
TEXTS = [["add a dot", "remove it", ""], ["x", "y", "z"], ["make it red", "", "b c"]]


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def run(tiny_editor, images):
    """A rollout of the three sessions, in batches of 2."""
    return functools.partial(
        rollout_sessions, tiny_editor, images, TEXTS, SAMPLER, MEMORY, batch=2
    )


def largest_change(a, b):
    return np.abs(a.astype(int) - b).max()


def test_a_rollout_is_a_loop_of_turns(tiny_editor, images, run):
    result = run(seed=5)
    assert result.shape == (3, 3, 16, 16, 3) and result.dtype == np.uint8
    source = tiny_editor.codec.encode(from_uint8(images[[1, 1]]))
    texts = tiny_editor.text.encode(TEXTS[1])
    null = tiny_editor.text.encode([""])[0]
    model, params = tiny_editor.run.model, tiny_editor.params
    state = rollout._start(
        params,
        source,
        texts[[0, 0]],
        null,
        model=model,
        memory=MEMORY,
        sampler=SAMPLER,
        frames=None,
    )
    for turn in range(3):
        latent, state = rollout._turn(
            params,
            state,
            texts[[turn, turn]],
            null,
            np.uint32(5),
            np.array([1, 1], np.uint32),
            np.uint32(turn + 1),
            model=model,
            sampler=SAMPLER,
            shape=source.shape[1:],
        )
        expected = to_uint8(tiny_editor.codec.decode(np.asarray(latent)))
        assert largest_change(result[1, turn], expected[0]) <= 1, turn


def test_the_batch_does_not_matter(tiny_editor, images, run):
    order = [2, 0, 1]
    texts = [TEXTS[i] for i in order]
    mixed = rollout_sessions(
        tiny_editor, images[order], texts, SAMPLER, MEMORY, ids=order, batch=2
    )
    assert largest_change(run()[order], mixed) <= 1


def test_seed_and_id_matter(run):
    base = run()
    assert (base == run()).all()
    assert largest_change(base, run(seed=1)) > 10
    assert largest_change(base, run(ids=[7, 8, 9])) > 10


def test_instructions_act_from_their_turn_on(tiny_editor, images, run):
    texts = [[first, "another text", last] for first, _, last in TEXTS]
    other = rollout_sessions(tiny_editor, images, texts, SAMPLER, MEMORY, batch=2)
    base = run()
    assert largest_change(base[:, 0], other[:, 0]) == 0
    assert largest_change(base[:, 1], other[:, 1]) > 10


def test_full_history_and_guidance(tiny_editor, images, run):
    sampler = SamplerConfig("euler", 2, 3.0, 1.5)
    full = MemoryConfig(1, None)
    result = rollout_sessions(tiny_editor, images, TEXTS, sampler, full, batch=2)
    assert result.shape == (3, 3, 16, 16, 3)
    assert largest_change(result, run()) > 10


def test_progress_counts_each_edit_once(run):
    seen = []
    run(on_turn=seen.append)
    assert seen == [2] * 3 + [1] * 3


def test_two_programs_serve_all_batches_turns_and_seeds(run):
    programs = (rollout._start, rollout._turn)
    run()
    before = [program._cache_size() for program in programs]
    run(seed=3)
    assert [program._cache_size() for program in programs] == before


def test_input_that_does_not_fit_together(tiny_editor, images):
    with pytest.raises(UserError, match="3 images, 2 lists"):
        rollout_sessions(tiny_editor, images, TEXTS[:2], SAMPLER, MEMORY)
    with pytest.raises(UserError, match="same number"):
        rollout_sessions(
            tiny_editor, images, [["a"], ["a"], ["a", "b"]], SAMPLER, MEMORY
        )
    with pytest.raises(UserError, match="at least one instruction"):
        rollout_sessions(tiny_editor, images, [[], [], []], SAMPLER, MEMORY)


def test_sessions_are_spread_over_a_mesh(tiny_editor, images):
    """Three sessions on two devices: filled up to four, and the same as on one."""
    memory, batch = MemoryConfig(1, 2), 3  # compiled for this test
    straight = rollout_sessions(
        tiny_editor, images, TEXTS, SAMPLER, memory, seed=2, batch=batch
    )
    mesh = make_mesh(MeshConfig(data=2))
    params = jax.device_put(
        tiny_editor.params, state_shardings(tiny_editor.params, mesh)
    )
    editor = types.SimpleNamespace(
        **{**vars(tiny_editor), "mesh": mesh, "params": params}
    )
    placed = []
    start = rollout._start

    def watched(params, source, *args, **options):
        state = start(params, source, *args, **options)
        placed.append((source.sharding, state.keys.sharding))
        return state

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout, "_start", watched)
        spread = rollout_sessions(
            editor, images, TEXTS, SAMPLER, memory, seed=2, batch=batch
        )
    assert largest_change(straight, spread) <= 1
    ((source, keys),) = placed
    assert source.num_devices == keys.num_devices == 2
    assert not keys.is_fully_replicated


def test_sessions_may_differ_in_length(tiny_editor, images, run):
    texts = [TEXTS[0][:1], TEXTS[1], TEXTS[2][:2]]
    found = dict(iterate_rollouts(tiny_editor, images, texts, SAMPLER, MEMORY, batch=2))
    assert [len(found[row]) for row in range(3)] == [1, 3, 2]
    for row, frames in enumerate(run()):
        assert largest_change(found[row], frames[: len(found[row])]) == 0


def test_finished_sessions_are_left_out_and_change_no_other(tiny_editor, images, run):
    seen = []
    found = dict(
        iterate_rollouts(
            tiny_editor,
            images,
            TEXTS,
            SAMPLER,
            MEMORY,
            batch=2,
            finished=frozenset([0, 2]),
            on_turn=seen.append,
        )
    )
    assert list(found) == [1] and len(seen) == 3
    assert (found[1] == run()[1]).all()
