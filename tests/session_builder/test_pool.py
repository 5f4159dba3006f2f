"""The benchmark builder: lists of instructions that are drawn from a pool."""

import json

import pytest

from anchoredit_jax.evaluation.folder_cases import folder_cases
from benchmarks.session_builder.build import build_benchmark
from benchmarks.session_builder.settings import BenchmarkSettings

from .benchmark_input import POOL, SIZE, photos, refused


def drawn(tmp_path, names, seed=0, pool=POOL, turns=(10, 20)):
    number = len([*tmp_path.iterdir()])
    root = photos(tmp_path / f"photos{number}", names, None)
    (root / "pool.txt").write_text(pool)
    out, settings = tmp_path / f"out{number}", BenchmarkSettings(16, turns, seed=seed)
    built = build_benchmark(root, out, settings, pool=root / "pool.txt")
    assert built["settings"]["seed"] == seed
    documents = {
        name: json.loads((out / name / f"{name}.json").read_text()) for name in names
    }
    return documents, folder_cases(out, SIZE)


def test_lists_from_a_pool_depend_on_the_seed_and_the_name_alone(tmp_path):
    names = ["a", "b", "c"]
    first, _ = drawn(tmp_path, names)
    again, _ = drawn(tmp_path, ["0", "b", "c"])
    other, _ = drawn(tmp_path, names, seed=1)
    assert first["b"] == again["b"] and first["c"] == again["c"]
    lists = [json.dumps(x[name]) for x in (first, other) for name in names]
    assert len(set(lists)) == 6
    texts = [text["en"] for text in first["a"]["instructions"]]
    assert texts[:2] == ["local edit 2", "global edit 1"]  # on every machine
    assert texts[2] == "go back to the picture after edit 1"


def test_lists_from_a_pool_are_mixed_and_sound(tmp_path):
    documents, cases = drawn(tmp_path, [f"i{n}" for n in range(40)])
    lengths, anys = set(), 0
    for case in cases:
        count = len(case.instructions)
        lengths.add(count)
        places = [n for n, x in enumerate(case.returns_to, 1) if x is not None]
        scopes = [turn["scope"] for turn in documents[case.name]["turns"]]
        assert len(places) == round(count / 5) and places[0] >= 3
        assert all(b > a + 1 for a, b in zip(places, places[1:], strict=False))
        assert scopes.count("global") == round(0.3 * (count - len(places)))
        assert scopes.count("local") + scopes.count("global") + len(places) == count
        pairs = zip(case.instructions, case.returns_to, strict=True)
        edits = [text for text, target in pairs if target is None]
        assert len(set(edits)) == len(edits)
        for turn in places:
            text, target = case.instructions[turn - 1], case.returns_to[turn - 1]
            assert 0 <= target <= turn - 2
            if text.startswith("undo"):
                assert target == turn - 2
            elif text.startswith("go back to the original"):
                assert target == 0
            else:
                assert text == f"go back to the picture after edit {target}"
                anys += 1
    assert lengths == set(range(10, 21)) and anys > 10


def test_a_pool_in_json_in_two_languages(tmp_path):
    pool = [
        {"en": "a", "zh": "甲", "scope": "local"},
        {"en": "b", "zh": "乙", "scope": "local"},
        {"en": "c", "zh": "丙", "scope": "global"},
        {"en": "back to {turn}", "zh": "回到 {turn}", "returns_to": "any"},
    ]
    root = photos(tmp_path / "photos", ["a"], None)
    (tmp_path / "pool.json").write_text(json.dumps(pool))
    settings = BenchmarkSettings(16, (4, 4))
    build_benchmark(root, tmp_path / "out", settings, pool=tmp_path / "pool.json")
    (case,) = folder_cases(tmp_path / "out", SIZE, "zh")
    (turn,) = (n for n, x in enumerate(case.returns_to) if x is not None)
    assert case.instructions[turn] == f"回到 {case.returns_to[turn]}"
    assert {*case.instructions} - {case.instructions[turn]} == {"甲", "乙", "丙"}


@pytest.mark.parametrize(
    ("pool", "match"),
    [
        ("a hat", "entry 1 of the pool is neither [local] nor [global] nor a return"),
        ("[null]", "entry 1 of the pool is neither"),
        ("[return 3] back", "entry 1 of the pool returns to turn 3"),
        ("[return any] back", "'{turn}' stands in the text of every"),
        ("[local] a {turn}", "and in no other"),
        (
            POOL.replace("[global] global edit 3\n", "# "),
            "up to 5 global edits, the pool has 4",
        ),
        (POOL.partition("[undo]")[0], "the pool has no return"),
        ("[mask] x", "pool.txt, line 1: unknown tag"),
        ("", "up to 20 turns have up to 11 local edits, the pool has 0"),
    ],
)
def test_pools_that_are_refused(tmp_path, pool, match):
    root = photos(tmp_path / "photos", ["a"], None)
    (tmp_path / "pool.txt").write_text(pool)
    (problem,) = refused(root, tmp_path / "out", pool=tmp_path / "pool.txt")
    assert match in problem


def test_lists_beside_images_are_not_silently_unused(tmp_path):
    root = photos(tmp_path / "photos", ["a"])
    (tmp_path / "pool.txt").write_text(POOL)
    problems = refused(root, tmp_path / "out", pool=tmp_path / "pool.txt")
    assert problems == ("a.txt: a list that is not used",)
