"""Kinds of data: each reads its own fields, and refuses those of the others."""

import pytest

from anchoredit_jax.config_history import modernise
from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.data.kinds import KINDS
from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import build_dataclass, deciding

SMALLEST = {
    "sprites": {},
    "records": {"records": {"path": "r"}},
    "sessions": {"sessions": {"path": "p"}, "turns": 2},
}


def build(kind="sprites", **changes):
    return build_dataclass(
        DataConfig, {"kind": kind, **SMALLEST[kind], **changes}, where="data"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_its_section_and_no_other(kind):
    config = build(kind)
    for name in KINDS:
        assert (getattr(config, name) is None) == (name != kind)
    for name in set(KINDS) - {kind}:
        with pytest.raises(UserError, match=f"'data.{name}' is read with data.kind "):
            build(kind, **{name: {"path": "x"} if name != "sprites" else {}})


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("records", {"null_fraction": 0.1}),
        ("records", {"drop_fraction": 0.1}),
        ("records", {"skip_probability": 0.1}),
        ("records", {"skip_turns": 2}),
        ("sessions", {"skip_turns": 2}),
    ],
)
def test_shared_fields_that_a_kind_does_not_read_are_refused(kind, change):
    (name,) = change
    with pytest.raises(UserError, match=f"'data.{name}' is read with .* leave it out"):
        build(kind, **change)
    assert getattr(build("sprites", turns=3, **change), name) == change[name]


def test_every_field_says_what_it_decides():
    told = deciding(DataConfig)
    ways = {name for name, what in told.items() if what == "way"}
    assert ways == {"workers", "records.path", "sessions.path", "sessions.cache"}
    assert set(told.values()) == {"way", "result"}


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("sprites", {"size": 8}, "data.size must be 16"),
        ("sprites", {"turns": 0}, "data.turns must be in"),
        ("sprites", {"batch": 0}, "data.batch must be in"),
        ("sprites", {"workers": -1}, "data.workers must be in"),
        ("sprites", {"seed": -1}, "data.seed"),
        ("sprites", {"null_fraction": 1.5}, "data.null_fraction"),
        ("sprites", {"drop_fraction": -0.1}, "data.drop_fraction"),
        ("sprites", {"skip_probability": float("nan")}, "data.skip_probability"),
        ("sprites", {"sprites": {"length": 0}}, "data.sprites.length"),
        ("sprites", {"sprites": {"length": 2**40}}, "data.sprites.length"),
        ("sprites", {"sprites": {"weights": {"mov": 1.0}}}, "move"),
        ("sprites", {"sprites": {"layout": "pairs"}}, "layout"),
        ("sprites", {"skip_turns": -1, "turns": 3}, "skip_turns must be in"),
        ("sprites", {"skip_turns": 2}, "data.turns of 2 or more"),
        (
            "sprites",
            {"skip_turns": 2, "turns": 3, "sprites": {"layout": "star"}},
            "layout 'star'",
        ),
        ("records", {"records": {}}, "'data.records.path' is missing"),
        ("sessions", {"sessions": {}}, "'data.sessions.path' is missing"),
        ("sessions", {"sessions": None}, "'data.sessions.path' is missing"),
        ("sessions", {"size": 0}, "data.size must be in"),
        ("sessions", {"turns": 1}, "1 with data.sessions.layout 'pairs', and 2 or"),
        ("sessions", {"sessions": {"path": "p", "layout": "pairs"}}, "must be 1 with"),
        ("sessions", {"sessions": {"path": "p", "layout": "star"}}, "layout must be"),
        ("sessions", {"null_fraction": 0.95}, "at most 0.9"),
        (
            "sessions",
            {"sessions": {"path": "p", "buckets": {"max_ratio": 0.5}}},
            "buckets.max_ratio",
        ),
        (
            "sessions",
            {"sessions": {"path": "p", "buckets": {"step": 0}}},
            "buckets.step",
        ),
        (
            "sessions",
            {"sessions": {"path": "p", "buckets": {"rule": "nearest"}}},
            "buckets.rule",
        ),
    ],
)
def test_wrong_values_are_refused(kind, change, words):
    with pytest.raises(UserError, match=words):
        build(kind, **change)


def test_an_unknown_kind_is_refused():
    with pytest.raises(UserError, match="did you mean 'sprites'"):
        DataConfig("sprite")


def test_stored_sections_of_earlier_versions_are_read():
    def read(**data):
        made = modernise({"data": {"size": 24, "batch": 2, "seed": 1, **data}})
        return build_dataclass(DataConfig, made["data"], "data")

    old = {"null_fraction": 0.1, "skip_turns": 0, "skip_probability": 0.5}
    sprites = read(
        name="sprites", turns=3, layout="star", length=9, weights={"move": 1.0},
        records=None, sessions={"path": None, "cache": None, "workers": 3}, **old,
    )  # fmt: skip
    assert sprites == build(
        size=24, batch=2, seed=1, turns=3, workers=3, null_fraction=0.1,
        sprites={"layout": "star", "length": 9, "weights": {"move": 1.0}},
    )  # fmt: skip
    records = read(name="sprites", turns=3, records="r", layout="chain", **old)
    assert records == build("records", size=24, batch=2, seed=1, turns=3)
    buckets = {"step": 8, "mix_turns": True}
    for turns, layout in ((1, "pairs"), (4, "chain")):
        sessions = read(
            name="sessions", turns=turns, records=None, layout="chain", **old,
            sessions={"path": "p", "cache": "c", "workers": 1, "buckets": buckets},
        )  # fmt: skip
        assert sessions == build(
            "sessions", size=24, batch=2, seed=1, turns=turns, workers=1,
            null_fraction=0.0, skip_probability=0.0,
            sessions={
                "path": "p", "cache": "c", "layout": layout, "buckets": buckets,
            },
        )  # fmt: skip
    assert modernise({"data": {"kind": "sprites"}}) == {"data": {"kind": "sprites"}}
