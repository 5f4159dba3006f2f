import dataclasses
import pickle
from collections.abc import Mapping
from typing import Literal

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import FrozenMapping, build_dataclass, unknown_name


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"


@dataclasses.dataclass(frozen=True)
class Outer:
    count: int
    name: str = "x"
    on: bool = False
    limit: int | None = None
    pairs: tuple[tuple[int, int], ...] = ()
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    inner: Inner = Inner()

    def __post_init__(self):
        if self.count < 0:
            raise ValueError("count must be 0 or more")


def test_values_become_what_their_annotations_say():
    built = build_dataclass(
        Outer,
        dict(
            count=3.0,
            limit=2,
            pairs=[[0, 1], (2, 3)],
            weights={"move": 2},
            inner={"rate": 1},
        ),
        "section",
    )
    assert built == Outer(3, "x", False, 2, ((0, 1), (2, 3)), {"move": 2.0}, Inner(1.0))
    assert type(built.count) is int and type(built.inner.rate) is float
    assert type(built.weights["move"]) is float
    hash(built)
    hash(build_dataclass(Outer, dict(count=1), "section"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (dict(), "'s.count' is missing"),
        (dict(count=1, nmae="y"), "'s.nmae' .* did you mean 'name'"),
        (dict(count=1, inner=dict(raet=1)), "'s.inner.raet' .* did you mean 'rate'"),
        (dict(count="1"), "'s.count': expected int, given '1'"),
        (dict(count=True), "'s.count': expected int"),
        (dict(count=1.5), "'s.count': expected int"),
        (dict(count=1, on=1), "'s.on': expected bool"),
        (dict(count=1, name=None), "'s.name': expected str"),
        (dict(count=1, limit="x"), "'s.limit': expected int"),
        (dict(count=1, pairs=3), "'s.pairs': expected a list"),
        (dict(count=1, pairs=[[1]]), r"'s.pairs\[0\]': expected 2 values"),
        (dict(count=1, weights=[1]), "'s.weights': expected keys"),
        (dict(count=1, weights={"a": "b"}), "'s.weights.a': expected float"),
        (dict(count=1, inner=dict(kind="c")), "'s.inner.kind': expected 'a' or 'b'"),
        (dict(count=1, inner=4), "'s.inner': expected keys"),
        (dict(count=-1), "'s': count must be 0 or more"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(values, said):
    with pytest.raises(UserError, match=said):
        build_dataclass(Outer, values, "s")


def test_a_frozen_mapping_is_hashable_and_cannot_be_written():
    mapping = FrozenMapping(a=1, b=2)
    assert hash(mapping) == hash(FrozenMapping(b=2, a=1))
    for write in (
        lambda: mapping.update(a=2),
        lambda: mapping.pop("a"),
        lambda: mapping.__setitem__("a", 2),
        lambda: mapping.__ior__({"c": 1}),
    ):
        with pytest.raises(TypeError, match="frozen"):
            write()
    assert pickle.loads(pickle.dumps(mapping)) == {"a": 1, "b": 2}


def test_unknown_names_say_what_is_known():
    said = unknown_name("stage 'one'", "single", ["single_turn", "other"])
    assert said == (
        "unknown stage 'one': did you mean 'single_turn'? known: other, single_turn"
    )
