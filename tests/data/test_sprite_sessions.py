"""Sessions: determinism, the truth of every kind of edit, covers, and the words."""

import collections
import dataclasses

import numpy as np
import pytest

from anchoredit_jax.data.sprites import (
    AMBIGUOUS_KINDS,
    COLOURS,
    DEFAULT_WEIGHTS,
    KINDS,
    PHRASES,
    SHAPES,
    SLOTS,
    SpriteSource,
    cover_session,
    make_edit,
    possible_kinds,
    render,
    sample_edit,
    sample_scene,
    sample_session,
    subject_mask,
)
from anchoredit_jax.errors import UserError

ALL_KINDS = KINDS + AMBIGUOUS_KINDS
MOST_WORDS = 14

# Of session 0 of seed 0.
KNOWN_SUBJECT = (0.011546754286331562, 0.24154919656271812)
KNOWN_TEXTS = [
    "erase the purple triangle",
    "take the yellow square away",
    "give it a yellow background",
]


@pytest.fixture(scope="module")
def sessions():
    return [sample_session(5, i, turns=12) for i in range(150)]


@pytest.fixture(scope="module")
def edits(sessions):
    found = collections.defaultdict(list)
    for session in sessions:
        for edit in session.edits:
            found[edit.kind].append(edit)
    return found


def test_sessions_are_functions_of_seed_and_index():
    assert sample_session(5, 7, 6) == sample_session(5, 7, 6)
    assert cover_session(5, 7) == cover_session(5, 7)
    subjects = {
        session.scenes[0].subject
        for seed in (0, 1, 2)
        for index in (0, 1, 2)
        for session in (sample_session(seed, index, 2), cover_session(seed, index))
    }
    assert len(subjects) == 18


def test_a_known_session_never_changes():
    """Another numpy, or another order of draws, must not change the data unnoticed."""
    session = sample_session(0, 0, 3)
    assert session.scenes[0].subject[:2] == pytest.approx(KNOWN_SUBJECT)
    assert [edit.text for edit in session.edits] == KNOWN_TEXTS


def test_sessions_are_chains(sessions):
    for session in sessions:
        assert len(session.scenes) == len(session.edits) + 1 == 13
        for n, edit in enumerate(session.edits):
            assert edit.before == session.scenes[n]
            assert edit.after == session.scenes[n + 1]
            assert edit.after in edit.valid
            assert edit.after.subject == session.scenes[0].subject


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_edits_change_their_region_and_nothing_of_the_subject(edits, kind, size):
    some = edits[kind][:40]
    assert len(some) > 10
    before = render([edit.before for edit in some], size)
    after = render([edit.after for edit in some], size)
    changed = (before != after).any(-1)
    if kind == "keep":
        assert not changed.any()
        assert all(edit.before == edit.after for edit in some)
        return
    assert changed.any((1, 2)).all()
    if kind not in ("cover", "uncover"):
        bare = np.array([not edit.before.covered for edit in some])
        assert bare.any() and not bare.all()
        mask = subject_mask([edit.before for edit in some], size)
        assert not (changed & mask)[bare].any()
    if kind in ("add", "remove", "recolour", "move", "add_somewhere"):
        quarters = np.stack(
            [
                changed[:, y : y + size // 2, x : x + size // 2].any((1, 2))
                for y in (0, size // 2)
                for x in (0, size // 2)
            ]
        )
        assert (quarters.sum(0) == (2 if kind == "move" else 1)).all()
    if kind in ("cover", "uncover"):
        assert not changed[:, :, 0].any() and not changed[:, 0].any()


def test_edits_do_what_their_words_say(edits):
    for kind, some in edits.items():
        for edit in some:
            old, new, text = edit.before, edit.after, edit.text
            told = [slot for slot, name in enumerate(SLOTS) if name in text]
            colours = [word for word in text.split() if word in COLOURS]
            shapes = [name for name in SHAPES if name in text.split()]
            moved = [s for s in range(4) if old.accessories[s] != new.accessories[s]]
            if kind == "background":
                assert colours == [new.background] != [old.background]
            elif kind in ("add", "add_somewhere"):
                (slot,) = moved
                assert told == ([slot] if kind == "add" else [])
                assert old.accessories[slot] is None
                item = new.accessories[slot]
                assert (colours, shapes) == ([item.colour], [item.shape])
            elif kind == "remove":
                (slot,) = moved
                assert new.accessories[slot] is None
                item = old.accessories[slot]
                assert (colours, shapes) == ([item.colour], [item.shape])
            elif kind == "recolour":
                (slot,) = moved
                was, item = old.accessories[slot], new.accessories[slot]
                assert (colours, shapes) == ([was.colour, item.colour], [was.shape])
                assert item.shape == was.shape
            elif kind == "move":
                assert len(moved) == 2 and told[0] in moved and len(told) == 1
                item = new.accessories[told[0]]
                assert (colours, shapes) == ([item.colour], [item.shape])
                assert old.accessories[told[0]] is None
            elif kind in ("cover", "uncover"):
                assert new == dataclasses.replace(old, covered=kind == "cover") != old


def test_shapes_and_colours_stay_unique(edits):
    for some in edits.values():
        for scene in (scene for edit in some for scene in edit.valid):
            items = [item for item in scene.accessories if item]
            assert len({item.shape for item in items}) == len(items)
            colours = [scene.background, *(item.colour for item in items)]
            assert len(set(colours)) == len(colours)


def test_ambiguous_edits_name_every_right_answer(edits):
    for kind in KINDS:
        assert all(edit.valid == (edit.after,) for edit in edits[kind])
    for edit in edits["add_somewhere"]:
        free = edit.before.free_slots()
        assert len(edit.valid) == len(set(edit.valid)) == len(free) >= 2
        slots = [
            next(s for s in free if scene.accessories[s] is not None)
            for scene in edit.valid
        ]
        assert slots == free
    for edit in edits["background_other"]:
        items = {item.colour for item in edit.before.accessories if item}
        allowed = set(COLOURS) - items - {edit.before.background}
        assert len(edit.valid) == len(set(edit.valid)) >= 3
        assert {scene.background for scene in edit.valid} == allowed
    for kind in AMBIGUOUS_KINDS:
        picked = {edit.valid.index(edit.after) for edit in edits[kind]}
        assert {0, 1, 2} <= picked, "always the same answer"


def test_every_phrasing_is_short_and_used(edits):
    for kind in ALL_KINDS:
        texts = {edit.text for edit in edits[kind]}
        assert len(PHRASES[kind]) >= 3
        assert len(texts) >= 3
        assert max(len(text.split()) for text in texts) <= MOST_WORDS
        assert not any(" a orange" in text or "{" in text for text in texts)
    assert {edit.text for edit in edits["keep"]} == set(PHRASES["keep"])
    assert not any("" == e.text for kind in ALL_KINDS[:7] for e in edits[kind])


def test_covers_come_often_stay_long_and_come_off(sessions):
    stays, ends_covered = collections.Counter(), 0
    for session in sessions:
        covered = [scene.covered for scene in session.scenes]
        assert not covered[0]
        ends_covered += covered[-1]
        texts = [edit.kind for edit in session.edits]
        starts = [n for n, kind in enumerate(texts) if kind == "cover"]
        for start in starts:
            if start == len(texts) - 1:
                continue
            end = next(n for n in range(start + 1, 12) if texts[n] == "uncover")
            stays[end - start - 1] += 1
    assert ends_covered < 0.2 * len(sessions)
    assert sum(stays.values()) > len(sessions)  # more than one a session
    assert max(stays) == 5
    long = sum(count for stay, count in stays.items() if stay >= 3)
    assert long > 0.4 * sum(stays.values())
    assert stays[0] < 0.15 * sum(stays.values())


@pytest.mark.parametrize("turns", [1, 2, 4])
def test_short_sessions_end_uncovered_unless_the_last_turn_covers(turns):
    for i in range(100):
        session = sample_session(1, i, turns)
        if session.scenes[-1].covered:
            assert session.edits[-1].kind == "cover"


def test_the_scripted_story():
    for i in range(30):
        session = cover_session(3, i)
        kinds = [edit.kind for edit in session.edits]
        assert len(kinds) == 7 and kinds[0] == "cover" and kinds[-1] == "uncover"
        assert not {"cover", "uncover", "keep", *AMBIGUOUS_KINDS} & set(kinds[1:-1])
        covered = [scene.covered for scene in session.scenes]
        assert covered == [False] + [True] * 6 + [False]
    assert len(cover_session(3, 0, distractors=2).edits) == 4


def test_default_weights(edits):
    counts = {kind: len(edits[kind]) for kind in ALL_KINDS}
    total = sum(counts.values())
    ambiguous = sum(counts[kind] for kind in AMBIGUOUS_KINDS)
    assert 0.06 < ambiguous / total < 0.14
    assert counts["move"] > 1.4 * counts["recolour"]
    assert min(counts.values()) > 0.02 * total
    assert set(DEFAULT_WEIGHTS) == set(ALL_KINDS)


def test_weights_decide_the_kinds():
    only = {"background": 1.0, "keep": 0.0}
    for i in range(10):
        session = sample_session(0, i, 5, only)
        assert {edit.kind for edit in session.edits} == {"background"}
    # Covered for good, after which nothing with a weight is possible: null turns.
    session = sample_session(0, 0, 3, {"cover": 1.0})
    assert [edit.kind for edit in session.edits] == ["cover", "keep", "keep"]
    assert session.edits[1].text == ""


def test_null_fraction():
    sessions = [sample_session(0, i, 4, null_fraction=0.5) for i in range(100)]
    nulls = [edit.text == "" for session in sessions for edit in session.edits]
    assert 0.38 < np.mean(nulls) < 0.6
    session = sample_session(0, 0, 4, null_fraction=1.0)
    assert all(edit.text == "" and edit.kind == "keep" for edit in session.edits)
    assert len(set(session.scenes)) == 1


def test_possible_kinds_can_all_be_made():
    rng = np.random.default_rng(0)
    full = 0
    for _ in range(100):
        scene = sample_scene(rng)
        free = len(scene.free_slots())
        full += free == 0
        for covered in (False, True):
            scene = dataclasses.replace(scene, covered=covered)
            kinds = possible_kinds(scene)
            assert ("add" in kinds) == (free > 0)
            assert ("add_somewhere" in kinds) == (free > 1)
            assert ("remove" in kinds) == (free < 4) == ("recolour" in kinds)
            assert ("move" in kinds) == (0 < free < 4)
            assert ("cover" in kinds) != ("uncover" in kinds) == covered
            for kind in kinds:
                edit = make_edit(rng, scene, kind)
                assert edit.kind == kind and edit.before == scene
    assert full


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"mov": 1.0}, "move"),
        ({"move": -1.0}, "0 or more"),
        ({"move": 0.0}, "above 0"),
        ({}, "above 0"),
        ({"uncover": 1.0}, "possible"),
    ],
)
def test_wrong_weights_are_refused(weights, words):
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match=words):
        sample_edit(rng, sample_scene(rng), weights)


@pytest.mark.parametrize(
    "numbers", [dict(seed=-1), dict(index=-1), dict(turns=0), dict(seed=2**64)]
)
def test_wrong_numbers_are_refused(numbers):
    with pytest.raises(UserError, match=next(iter(numbers))):
        sample_session(**{"seed": 0, "index": 0, "turns": 1, **numbers})


def test_the_source_renders_its_sessions():
    source = SpriteSource(turns=3, seed=9, size=48, length=10)
    assert len(source) == 10
    record = source[4]
    session = sample_session(9, 4, 3)
    assert record["id"] == 4
    assert (record["images"] == render(session.scenes, 48)).all()
    assert record["instructions"] == [edit.text for edit in session.edits]
    vague = {"somewhere", "anywhere", "any", "another", "different"}
    records = source.records(range(10))
    for record in records:
        for text, mask in zip(record["instructions"], record["answers"], strict=True):
            assert mask.any() == (not vague.isdisjoint(text.split()))
    assert any(record["answers"].any() for record in records)
    for alone, together in zip(
        [source[7], source[4]], source.records([7, 4]), strict=True
    ):
        assert (alone["images"] == together["images"]).all()
        assert alone["instructions"] == together["instructions"]
    with pytest.raises(IndexError):
        source[10]
