"""Every number of every section has bounds, and whoever makes a section is held to
them: no value ends in a traceback, or in a run that cannot come out right."""

import dataclasses
import math
import typing

import pytest

from anchoredit_jax.config import run_from_dict, section_types
from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import Bounded, build_dataclass, lies_within
from anchoredit_jax.testing.tiny import tiny_model

STAGES = (
    "single_turn", "causal_forcing", "consistency", "distribution_matching",
)  # fmt: skip


def leaves(annotation):
    """The types of what a field may hold, also in tuples and mappings."""
    inner = [leaf for arg in typing.get_args(annotation) for leaf in leaves(arg)]
    return inner or [annotation]


def sections(cls, where):
    """(dataclass, dotted name) of a section and of all sections in it."""
    yield cls, where
    for name, hint in typing.get_type_hints(cls).items():
        for inner in leaves(hint):
            if dataclasses.is_dataclass(inner):
                yield from sections(inner, f"{where}.{name}")


def numbers():
    """(dataclass, field, dotted name, its type) of all fields that hold numbers."""
    found = {}
    for stage in STAGES:
        for name, top in section_types(stage).items():
            for cls, where in sections(top, name):
                hints = typing.get_type_hints(cls)
                for field in dataclasses.fields(cls):
                    kinds = {int, float} & set(leaves(hints[field.name]))
                    if kinds:
                        key = (cls, field.name)
                        found[key] = (cls, field, f"{where}.{field.name}", kinds.pop())
    return list(found.values())


NUMBERS = numbers()
NAMES = [f"{cls.__module__}.{field.name}" for cls, field, *_ in NUMBERS]


def test_the_fields_are_found():
    names = {where for _, _, where, _ in NUMBERS}
    assert len(NUMBERS) > 100
    assert {"optimizer.ema", "data.sprites.weights", "sampler.timesteps"} <= names
    assert {"options.loss.hard_share", "options.memory_policies"} <= names


@pytest.mark.parametrize(("cls", "field", "where", "kind"), NUMBERS, ids=NAMES)
def test_a_number_has_bounds_and_is_held_to_them(cls, field, where, kind):
    within = field.metadata.get("within")
    assert within, f"{where} has no bounds: say within='[least, most]'"
    least, most = (float(end) for end in within[1:-1].split(", "))
    assert math.isfinite(least) and math.isfinite(most), "what is infinite is no bound"
    wrong = [least - 1, 2 * most + 1]
    wrong += [least] * (within[0] == "(") + [most] * (within[-1] == ")")
    if kind is float:
        wrong += [math.nan, math.inf, -math.inf, 10**400]
    for value in wrong:
        given = shaped(field, cls, int(value) if kind is int else value)
        with pytest.raises(UserError, match=f"{field.name}"):
            build_dataclass(cls, {field.name: given}, where.rpartition(".")[0])


def shaped(field, cls, value):
    """The value as the field has it: alone, in a tuple, or in a mapping."""
    hint = str(typing.get_type_hints(cls)[field.name])
    if "Mapping" in hint:
        return {"recolour": value}
    if "tuple[tuple" in hint:
        return [[value, value]]
    return [value] if "tuple" in hint else value


def test_whoever_makes_a_section_is_held_to_its_bounds():
    run = run_from_dict({"stage": "causal_forcing", "model": vars(tiny_model())})
    for section, changes in (
        (run.optimizer, dict(ema=1.5)),
        (run.sampler, dict(steps=10**9)),
        (run.memory, dict(window=10**9)),
        (run.options.rollout, dict(maximum=math.nan)),
        (run.options, dict(memory_policies=((1, -1),))),
        (run.data, dict(batch=0)),
        (run.model, dict(dtype="bf16")),
    ):
        (name,) = changes
        with pytest.raises(UserError, match=f"{name} must be"):
            dataclasses.replace(section, **changes)


def test_sections_that_do_not_fit_each_other_are_refused():
    base = {"stage": "single_turn", "model": vars(tiny_model())}
    uneven = dict(data={"batch": 6}, optimizer={"accumulate": 4})
    with pytest.raises(UserError, match="multiple of optimizer.accumulate, given 6"):
        run_from_dict({**base, **uneven})
    for seed in (-1, 2**63):
        with pytest.raises(UserError, match="seed must be in"):
            run_from_dict({**base, "seed": seed})
    swapped = {"timesteps": {"minimum": 900.0, "maximum": 100.0}}
    with pytest.raises(UserError, match="minimum must be at most maximum"):
        run_from_dict({**base, "options": swapped})


def words():
    """(stage, dotted name) of all fields that hold one of several words."""
    found = {}
    for stage in STAGES:
        for name, top in section_types(stage).items():
            for cls, where in sections(top, name):
                for field in dataclasses.fields(cls):
                    if isinstance(field.metadata.get("within"), tuple):
                        found[f"{where}.{field.name}"] = stage
    return list(found.items())


# Fields that are refused beside others: what is given, by dotted name.
BESIDE = (
    ("options.timesteps.lower_min", {"lower_min": 0.9, "lower_max": 0.1}),
    ("options.degrade.block_sizes", {"block_sizes": []}),
    ("sampler.timesteps", {"timesteps": []}),
    ("model.dim", {"dim": 30, "num_heads": 4}),
    ("memory.window", {"sink": 0, "window": 0}),
    ("text.length", {"length": 8192, "dim": 65536}),
    ("data.sprites.weights", {"weights": {"dance": 1.0}}),
    ("options.score_minimum", {"score_minimum": 9.0, "score_maximum": 8.0}),
)


def test_sections_made_by_themselves_are_named_alike():
    for stage in STAGES:
        for name, top in section_types(stage).items():
            for cls, where in sections(top, name):
                if issubclass(cls, Bounded):
                    assert cls.place == where


@pytest.mark.parametrize(
    ("where", "given"),
    [
        *((where, {where.rpartition(".")[2]: "no such word"}) for where, _ in words()),
        *BESIDE,
    ],
)
def test_a_field_is_named_from_the_root(where, given):
    """As a person writes it on a command line, not by the name of a class."""
    stage = dict(words()).get(where, "causal_forcing")
    if "score" in where:
        stage = "distribution_matching"
    config = {"stage": stage, "model": vars(tiny_model())}
    *parents, _ = where.split(".")
    section = config
    for parent in parents:
        section = section.setdefault(parent, {})
    section.update(given)
    with pytest.raises(UserError) as refused:
        run_from_dict(config)
    assert str(refused.value).startswith(f"{where} ")


def test_ends_of_an_interval():
    assert lies_within(0, "[0, 1)") and not lies_within(1, "[0, 1)")
    assert lies_within(1.0, "(0, 1]") and not lies_within(0.0, "(0, 1]")
    assert not lies_within(math.nan, "[0, 1]")
    assert lies_within(2**63 - 1, f"[0, {2**63 - 1}]")
    assert not lies_within(2**63, f"[0, {2**63 - 1}]")
