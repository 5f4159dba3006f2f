"""The ring and its sink: what is kept, where, and at which position."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import MemoryConfig, commit, init_memory, view


def filled(config, frames, max_frames=None):
    """A memory whose frame f has keys f + 1 and values -f - 1."""
    memory = init_memory(
        config, layers=2, batch=1, tokens=3, heads=2, head_dim=4, max_frames=max_frames
    )
    for frame in range(frames):
        keys = jnp.full((2, 1, 1, 3, 2, 4), frame + 1.0)
        memory = commit(memory, keys, -keys)
    return memory


def held(memory):
    """{frame: position} of what a view shows."""
    seen = view(memory)
    valid = np.asarray(seen.valid[0])
    frames = np.asarray(seen.keys[0, 0, :, 0, 0, 0]).astype(int) - 1
    return dict(zip(frames[valid], np.asarray(seen.positions[0])[valid], strict=True))


def test_ring_overwrites_the_oldest_and_never_the_sink():
    memory = filled(MemoryConfig(1, 3, "absolute"), 9)
    assert held(memory) == {0: 0, 6: 6, 7: 7, 8: 8}
    assert int(view(memory).next_position[0]) == 9


def test_window_relative_positions_stay_in_range():
    memory = filled(MemoryConfig(1, 3, "window_relative"), 9)
    assert held(memory) == {0: 0, 6: 1, 7: 2, 8: 3}
    assert int(view(memory).next_position[0]) == 4


def test_policies_agree_until_the_window_is_full():
    absolute = filled(MemoryConfig(1, 3, "absolute"), 4)
    relative = filled(MemoryConfig(1, 3, "window_relative"), 4)
    assert held(absolute) == held(relative) == {0: 0, 1: 1, 2: 2, 3: 3}


def test_without_a_sink_the_source_leaves():
    assert held(filled(MemoryConfig(0, 3, "absolute"), 4)) == {1: 1, 2: 2, 3: 3}


def test_a_sink_alone_keeps_only_the_anchor():
    assert held(filled(MemoryConfig(1, 0, "absolute"), 5)) == {0: 0}


def test_full_history_keeps_all():
    memory = filled(MemoryConfig(0, None, "absolute"), 5, max_frames=6)
    assert held(memory) == {frame: frame for frame in range(5)}


def test_full_history_needs_a_size():
    with pytest.raises(UserError, match="max_frames"):
        filled(MemoryConfig(0, None), 1)


def test_commit_is_pure_so_undo_is_the_old_value():
    before = filled(MemoryConfig(1, 2, "absolute"), 6)
    kept = jax.tree.map(np.asarray, before)
    commit(before, jnp.full((2, 1, 1, 3, 2, 4), 99.0), jnp.zeros((2, 1, 1, 3, 2, 4)))
    jax.tree.map(np.testing.assert_array_equal, before, kept)


def test_300_commits_keep_the_size():
    small = filled(MemoryConfig(1, 3), 1)
    large = filled(MemoryConfig(1, 3), 300)
    assert jax.tree.map(jnp.shape, small) == jax.tree.map(jnp.shape, large)
    assert set(held(large)) == {0, 297, 298, 299}


@pytest.mark.parametrize(
    "bad", [dict(sink=-1), dict(window=-2), dict(sink=0, window=0), dict(positions="x")]
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(UserError, match="memory"):
        MemoryConfig(**bad)
