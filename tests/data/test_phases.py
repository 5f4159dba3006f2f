"""Steered batch plans: what was shown in the epoch under way waits for its turn."""

import collections
import dataclasses
import json
import pickle

import numpy as np
import pytest

from anchoredit_jax.data.batches import open_steps
from anchoredit_jax.data.config import DataConfig, RecordsConfig, SessionsConfig
from anchoredit_jax.data.legs import Leg, leg_of, place_behind
from anchoredit_jax.data.phases import phase_at
from anchoredit_jax.data.plan import EMPTY
from anchoredit_jax.data.prepared import PreparedSessions, prepare
from anchoredit_jax.data.session_batches import Host, leg_behind
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import PatchCodec
from anchoredit_jax.models.text import NgramTextEncoder

from .corpus import make_corpus

CODEC, TEXT = PatchCodec(stride=2), NgramTextEncoder(length=8, dim=16)
SMALL, LARGE = 12, 20


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Prepared datasets: one, and a larger one that begins with its sessions."""
    root = tmp_path_factory.mktemp("steered")
    made = []
    for count in (SMALL, LARGE):
        raw, out = root / f"raw{count}", root / f"prepared{count}"
        make_corpus(raw, good=count)
        prepare(raw, out, languages=("en", "zh"))
        made.append(out)
    return made


def data(folder, layout="pairs", **changes):
    sessions = SessionsConfig(str(folder), layout=layout, **changes.pop("sessions", {}))
    turns = 1 if layout == "pairs" else 4
    fields = dict(kind="sessions", size=24, turns=turns, batch=4, seed=3)
    return DataConfig(**{**fields, "null_fraction": 0.0, **changes}, sessions=sessions)


def opened(*legs, host=Host()):  # noqa: B008  (frozen)
    """Batches of legs, each behind the ones before."""
    config, kept = legs[-1].data, [legs[0]]
    for leg in legs[1:]:
        if leg.same_samples(kept[-1]):
            kept.append(leg)
        else:
            kept = [leg_behind(kept, leg, CODEC.stride, 2)]
    legs = kept
    return open_steps(config, CODEC, TEXT, patch=2, host=host, legs=legs)


def shown(steps, first, last):
    """(session, part) of the samples of these steps; nothing is decoded."""
    found = []
    for step in range(first, last):
        phase = phase_at(steps._phases, step)
        planned = phase[step]
        for number in planned.samples[planned.samples != EMPTY].tolist():
            sample = phase.samples.sample(planned.epoch, planned.bucket, number)
            found.append((sample.session, sample.part))
    return found


def sessions_of(samples):
    return {session for session, _ in samples}


def names_of(folder, samples):
    sessions = PreparedSessions(folder)
    return {sessions[number].key for number in sessions_of(samples)}


def epoch_of(leg):
    steps = opened(dataclasses.replace(leg, step=0))
    return sorted(shown(steps, 0, steps.plan.steps_per_epoch))


@pytest.mark.parametrize("layout", ["pairs", "chain"])
@pytest.mark.parametrize("cut", [1, 5])
def test_another_batch_shows_the_rest_of_the_epoch_first(folders, layout, cut):
    before = leg_of(0, data(folders[0], layout))
    leg = leg_of(cut, data(folders[0], layout, batch=3))
    seen = shown(opened(before), 0, cut)
    steps = opened(before, leg)
    rest = steps._phases[-1].start
    after = shown(steps, cut, rest)
    assert sorted(seen + after) == epoch_of(before)
    whole = shown(steps, rest, rest + steps.plan.steps_per_epoch)
    assert sorted(whole) == epoch_of(leg)


def test_it_may_change_again_in_the_same_epoch_and_in_a_later_one(folders):
    batches = [(0, 4), (2, 3), (3, 2), (5, 5)]
    legs = [leg_of(step, data(folders[0], batch=batch)) for step, batch in batches]
    seen = []
    for place, (first, last) in enumerate([(0, 2), (2, 3), (3, 5)]):
        seen += shown(opened(*legs[: place + 1]), first, last)
    steps = opened(*legs)
    rest = steps._phases[-1].start
    assert sorted(seen + shown(steps, 5, rest)) == epoch_of(legs[0])
    late = leg_of(rest + 2, data(folders[0], batch=2))
    seen = shown(steps, rest, rest + 2)
    again = opened(*legs, late)
    after = shown(again, rest + 2, again._phases[-1].start)
    assert sorted(seen + after) == epoch_of(legs[0])


def test_at_the_end_of_an_epoch_the_next_one_begins(folders):
    before = leg_of(0, data(folders[0]))
    length = opened(before).plan.steps_per_epoch
    steps = opened(before, leg_of(length, data(folders[0], batch=4)))
    assert len(steps._phases) == 2
    for step in (length, length + 3):
        np.testing.assert_array_equal(steps[step]["id"], opened(before)[step]["id"])


@pytest.mark.parametrize("layout", ["pairs", "chain"])
def test_a_larger_dataset_begins_with_the_sessions_not_yet_shown(folders, layout):
    cut = 3
    before = leg_of(0, data(folders[0], layout))
    leg = leg_of(cut, data(folders[1], layout))
    seen = names_of(folders[0], shown(opened(before), 0, cut))
    steps = opened(before, leg)
    rest = steps._phases[-1].start
    after = shown(steps, cut, rest)
    epoch = epoch_of(leg)
    every = names_of(folders[1], epoch)
    assert len(every) == LARGE and len(seen) > 3
    assert names_of(folders[1], after) == every - seen
    assert len(set(after)) == len(after)
    whole = shown(steps, rest, rest + steps.plan.steps_per_epoch)
    assert sorted(whole) == epoch
    # Another batch on top of it: what both have shown waits.
    last = leg_of(cut + 1, data(folders[1], layout, batch=2))
    both = opened(before, leg, last)
    more = shown(steps, cut, cut + 1)
    remaining = shown(both, cut + 1, both._phases[-1].start)
    assert sorted(more + remaining) == sorted(shown(steps, cut, rest))


def test_other_settings_leave_the_shown_sessions_out_too(folders):
    before = leg_of(0, data(folders[0]))
    leg = leg_of(2, data(folders[0], seed=4))
    seen = sessions_of(shown(opened(before), 0, 2))
    steps = opened(before, leg)
    after = sessions_of(shown(steps, 2, steps._phases[-1].start))
    assert after == set(range(SMALL)) - seen


def test_a_change_may_come_at_the_end_of_an_epoch(folders):
    before = leg_of(0, data(folders[0]))
    length = opened(before).plan.steps_per_epoch
    steps = opened(before, leg_of(length, data(folders[1])))
    (phase,) = steps._phases
    assert (phase.start, phase.epoch) == (length, 1)


def test_hosts_and_processes_plan_alike(folders):
    legs = leg_of(0, data(folders[0])), leg_of(3, data(folders[1], batch=6))
    whole = opened(*legs)
    parts = [opened(*legs, host=Host((part,), 2)) for part in range(2)]
    sent = pickle.loads(pickle.dumps(whole))
    for step in (3, 9):
        ids = whole[step]["id"]
        assert ids.shape == (6,)
        np.testing.assert_array_equal(
            np.concatenate([part[step]["id"] for part in parts]), ids
        )
        np.testing.assert_array_equal(sent[step]["id"], ids)


def test_legs_are_plain_values(folders):
    leg = leg_of(3, data(folders[0], sessions=dict(exclude=("a",))))
    assert Leg.from_dict(json.loads(json.dumps(leg.to_dict()))) == leg


def test_excluded_sessions_leave_their_places_empty(folders):
    sessions = PreparedSessions(folders[0])
    plain = opened(leg_of(0, data(folders[0])))
    out = [int(plain[0]["id"][0]) % SMALL, int(plain[1]["id"][2]) % SMALL]
    names = tuple(sessions[number].key for number in out)
    steps = opened(leg_of(0, data(folders[0], sessions=dict(exclude=names))))
    for step in range(3):
        ours, theirs = steps[step], plain[step]
        kept = ~np.isin(theirs["id"] % SMALL, out)
        assert kept.any() and (step or not kept[0])
        assert not ours["frame_valid"][~kept].any()
        for name in ours:
            np.testing.assert_array_equal(ours[name][kept], theirs[name][kept])
        first = ours["latents"][kept.argmax()]
        for row in ours["latents"][~kept]:
            np.testing.assert_array_equal(row, first)
    everyone = tuple(sessions[number].key for number in range(SMALL))
    none = opened(leg_of(0, data(folders[0], sessions=dict(exclude=everyone))))[0]
    assert not none["latents"].any() and not none["frame_valid"].any()


def test_a_name_that_no_session_has_is_refused(folders):
    with pytest.raises(UserError, match="is named 'nobody', nor 1 more"):
        opened(leg_of(0, data(folders[0], sessions=dict(exclude=("nobody", "other")))))


@pytest.mark.parametrize(
    ("before", "leg", "place"),
    [
        ((0, 4, 100), (10, 8, 100), 40),
        ((0, 4, 100), (30, 8, 150), 20),  # of the second epoch
        ((0, 4, 100, 7), (10, 8, 150), 47),
        ((0, 4, 100), (10, 8, 30), 10),
        ((0, 4, 0), (10, 8, 30), 0),
    ],
)
def test_sources_go_on_behind_the_last_session_shown(before, leg, place):
    def made(step, batch, sessions, start=0):
        config = DataConfig("records", batch=batch, records=RecordsConfig("x"))
        return Leg(step, config, "f", sessions, start)

    assert place_behind(made(*before), made(*leg)) == place


def test_sprites_go_on_behind_the_last_one_shown():
    config = DataConfig(batch=4, size=16)
    before, leg = leg_of(0, config), leg_of(5, dataclasses.replace(config, batch=6))
    legs = [dataclasses.replace(leg, place=place_behind(before, leg))]
    text = NgramTextEncoder(length=16, dim=16)
    steps = open_steps(legs[-1].data, CODEC, text, legs=legs)
    assert [steps[step]["id"].tolist() for step in (5, 6)] == [
        list(range(20, 26)), list(range(26, 32)),
    ]  # fmt: skip


def test_every_sample_counts_once_an_epoch_whatever_the_steering(folders):
    """Over three legs: no sample comes a second time before all have come once."""
    legs = [
        leg_of(0, data(folders[0], batch=4)),
        leg_of(4, data(folders[0], batch=7)),
        leg_of(6, data(folders[0], batch=2)),
    ]
    seen = collections.Counter(shown(opened(legs[0]), 0, 4))
    seen.update(shown(opened(*legs[:2]), 4, 6))
    steps = opened(*legs)
    seen.update(shown(steps, 6, steps._phases[-1].start))
    assert set(seen.values()) == {1} and sorted(seen) == epoch_of(legs[0])
