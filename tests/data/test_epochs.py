"""An epoch over sessions of 1 to 14 turns, counted in the batches themselves.

Frames are told by their latents, edits by the frames on both sides and by what is said
of them: nothing here asks the plan what it meant to do.
"""

import collections

import numpy as np
import pytest

from anchoredit_jax.data.buckets import BucketConfig
from anchoredit_jax.data.config import DataConfig, SessionsConfig
from anchoredit_jax.data.feature_cache import (
    FeatureCache,
    build_cache,
    describe_features,
)
from anchoredit_jax.data.held_out import held_out
from anchoredit_jax.data.held_out_sessions import of_prepared
from anchoredit_jax.data.prepared import PreparedSessions, prepare
from anchoredit_jax.data.session_batches import (
    Host,
    group_prepared,
    open_session_steps,
)
from anchoredit_jax.models.codec import PatchCodec, from_uint8
from anchoredit_jax.models.text import NgramTextEncoder

from .corpus import make_corpus

CODEC, TEXT = PatchCodec(stride=2), NgramTextEncoder(length=8, dim=16)
SESSIONS = 56
NULLS, DROPPED = 0.15, 0.2
# Hosts from a share of the epoch on: never another, and a run resumed on fewer.
HOSTS = ({0: 1}, {0: 2}, {0: 4}, {0: 4, 0.3: 1, 0.6: 2})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """(config of a layout, features, turns of every session)."""
    root = tmp_path_factory.mktemp("epochs")
    make_corpus(root / "raw", good=SESSIONS, most=14)
    prepare(root / "raw", root / "prepared", languages=("en", "zh"))
    sessions = PreparedSessions(root / "prepared")

    def config(layout="chain", **changes):
        turns = 1 if layout == "pairs" else 5
        mix, held_out = changes.pop("mix", False), changes.pop("held_out", 0.0)
        path, cache = str(root / "prepared"), str(root / "cache")
        settings = dict(batch=8, seed=2, null_fraction=NULLS, drop_fraction=DROPPED)
        return DataConfig(
            "sessions", 24, turns, **{**settings, **changes},
            sessions=SessionsConfig(
                path, cache, layout, BucketConfig(mix_turns=mix), held_out
            ),
        )  # fmt: skip

    made = sessions, group_prepared(sessions, config(), CODEC.stride, 2), CODEC, TEXT
    build_cache(root / "cache", *made)
    features = FeatureCache(root / "cache", describe_features(*made))
    return config, features, np.array(sessions.turns).tolist()


def epoch_of(config, hosts=None, number=0):
    """The batches of an epoch, joined from those of all hosts."""
    steps = open_session_steps(config, CODEC, TEXT, patch=2).plan.steps_per_epoch
    opened = {
        count: [
            open_session_steps(config, CODEC, TEXT, patch=2, host=Host((i,), count))
            for i in range(count)
        ]
        for count in (hosts or {0: 1}).values()
    }
    for step in range(steps):
        since = max(share for share in hosts or {0: 1} if share * steps <= step)
        parts = [
            host[number * steps + step] for host in opened[(hosts or {0: 1})[since]]
        ]
        yield {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def told(corpus, batches):
    """(session, frames shown, [(target frame, "said" | "dropped" | "kept"), ..]) of
    every row that weighs something."""
    _, features, turns = corpus
    known = {}
    for batch in batches:
        for row in np.flatnonzero(batch["frame_valid"].any(1)):
            session = int(batch["id"][row]) % SESSIONS
            if session not in known:
                frames = features[session].latents(range(turns[session] + 1))
                known[session] = {f.tobytes(): n for n, f in enumerate(frames)}
                assert len(known[session]) == turns[session] + 1
            shown = [known[session][f.tobytes()] for f in batch["latents"][row]]
            valid = batch["frame_valid"][row]
            assert valid[0] == 1
            targets = []
            for place in np.flatnonzero(valid[1:]):
                before, frame = shown[place], shown[place + 1]
                text = batch["text"][row, place]
                if frame == before:
                    assert not text.any()
                    targets.append((frame, "kept"))
                    continue
                assert frame == before + 1
                said = [
                    features[session].text(language, [before])[0]
                    for language in features[session].languages
                ]
                if text.any():
                    assert any((text == one).all() for one in said)
                targets.append((frame, "said" if text.any() else "dropped"))
            yield session, shown[: int(np.flatnonzero(valid)[-1]) + 1], targets


def counts(samples):
    """(how often each frame of each session is an edit's target, what is said)."""
    edits, kinds = collections.Counter(), collections.Counter()
    for session, _, targets in samples:
        kinds.update(kind for _, kind in targets)
        edits.update((session, frame) for frame, kind in targets if kind != "kept")
    return edits, kinds


def every_edit(turns):
    return {(s, frame) for s, n in enumerate(turns) for frame in range(1, n + 1)}


@pytest.mark.parametrize("hosts", HOSTS, ids=str)
@pytest.mark.parametrize("layout", ["pairs", "chain"])
def test_every_edit_is_a_target_once_an_epoch(corpus, layout, hosts):
    config, _, turns = corpus
    samples = list(told(corpus, epoch_of(config(layout), hosts)))
    edits, kinds = counts(samples)
    assert set(edits) == every_edit(turns) and set(edits.values()) == {1}
    assert abs(kinds["kept"] / kinds.total() - NULLS) < 0.03
    dropped = kinds["dropped"] / (kinds["dropped"] + kinds["said"])
    assert abs(dropped - DROPPED) < 0.06
    if layout == "pairs":
        assert all(len(shown) == 2 for _, shown, _ in samples)
    else:
        assert all(shown[0] == 0 and len(shown) <= 6 for _, shown, _ in samples)


@pytest.mark.parametrize("layout", ["pairs", "chain"])
def test_another_epoch_keeps_drops_and_cuts_elsewhere(corpus, layout):
    config, _, turns = corpus
    found = []
    for number in (0, 1):
        samples = list(told(corpus, epoch_of(config(layout), number=number)))
        edits, _ = counts(samples)
        assert set(edits) == every_edit(turns) and set(edits.values()) == {1}
        found.append(
            [
                {(s, f) for s, _, targets in samples for f, k in targets if k == kind}
                for kind in ("kept", "dropped")
            ]
        )
        if layout == "chain":
            found[-1].append({(s, tuple(shown)) for s, shown, _ in samples})
    for one, other in zip(*found, strict=True):
        assert len(one & other) < 0.8 * len(one)


def test_parts_of_long_sessions_show_gaps_and_short_ones_a_share(corpus):
    config, _, turns = corpus
    for share in (0.0, 1.0):
        asked = config(skip_probability=share, null_fraction=0.0)
        gaps = collections.Counter()
        for session, shown, targets in told(corpus, epoch_of(asked)):
            if shown[1] > 1:
                assert shown[1] not in [frame for frame, _ in targets]
                assert [frame for frame, _ in targets] == shown[2:]
                gaps[session] += 1
        for session, count in enumerate(turns):
            needed = -(-(count - 1) // 4) - 1 if count > 5 else 0
            wanted = {0.0: needed, 1.0: needed + (count in (3, 4, 5, 9, 13))}
            assert gaps[session] == wanted[share], count


def test_mixed_lengths_share_a_batch_and_are_masked(corpus):
    config, _, turns = corpus
    asked = config(mix=True)
    batches = list(epoch_of(asked))
    assert {batch["latents"].shape[1] for batch in batches} == {6}
    lengths = set()
    for batch in batches:
        for valid, latents, text in zip(
            batch["frame_valid"], batch["latents"], batch["text"], strict=True
        ):
            if valid.any():
                last = int(np.flatnonzero(valid)[-1])
                lengths.add(last)
                assert (latents[last:] == latents[last]).all()
                assert not text[last:].any()
    assert lengths == {1, 2, 3, 4, 5}
    edits, _ = counts(told(corpus, batches))
    assert set(edits) == every_edit(turns) and set(edits.values()) == {1}


def test_shapes_name_every_batch(corpus):
    config, *_ = corpus
    for layout in ("pairs", "chain"):
        steps = open_session_steps(config(layout), CODEC, TEXT, patch=2)
        seen = set()
        for batch in epoch_of(config(layout)):
            frames, height, width = batch["latents"].shape[1:4]
            seen.add((frames, 2 * height, 2 * width))
        assert seen == set(steps.shapes) and len(steps.shapes) == len(seen)
        said = steps.coverage()
        assert said.startswith(f"{len(seen)} programs are compiled")
        assert said.endswith("steps an epoch; 0 of 56 sessions left out")


@pytest.mark.parametrize("layout", ["pairs", "chain"])
def test_held_out_sessions_are_never_shown_and_all_others_are(corpus, layout):
    config, _, turns = corpus
    config = config(layout, held_out=0.3)
    seen = {session for session, *_ in told(corpus, epoch_of(config))}
    chosen = set(np.flatnonzero(held_out(PreparedSessions(config.sessions.path), 0.3)))
    assert 5 < len(chosen) < 30
    assert seen == set(range(len(turns))) - chosen
    steps = open_session_steps(config, CODEC, TEXT, patch=2)
    assert f"{len(chosen)} held out" in steps.coverage()
    shown = of_prepared(config, CODEC, TEXT, 2, 4, 3)
    keys = [PreparedSessions(config.sessions.path)[n].key for n in chosen]
    assert 0 < len(shown) <= 4 and {session.name for session in shown} <= set(keys)
    assert len({session.latents.shape[1:] for session in shown}) == 1
    for session in shown:
        images = session.read_images()
        assert len(images) == len(session.latents) == len(session.text) + 1 <= 4
        wanted = CODEC.encode(from_uint8(images))
        np.testing.assert_allclose(session.latents, wanted, atol=8e-3)  # bfloat16


def test_a_held_out_session_stays_so_when_the_dataset_grows(tmp_path):
    chosen = []
    for name, good in (("few", 20), ("many", 60)):
        make_corpus(tmp_path / name, good=good)
        prepare(tmp_path / name, tmp_path / f"{name}_prepared", languages=("en", "zh"))
        sessions = PreparedSessions(tmp_path / f"{name}_prepared")
        mask = held_out(sessions, 0.3)
        keys = [sessions[n].key for n in range(len(sessions))]
        chosen.append(dict(zip(keys, mask.tolist(), strict=True)))
    few, many = chosen
    common = few.keys() & many.keys()
    assert len(common) > 10 and any(few.values())
    assert all(few[key] == many[key] for key in common)
    assert held_out(sessions, 0.1).sum() < mask.sum()  # and a larger share adds some
    assert not (held_out(sessions, 0.1) & ~mask).any()
