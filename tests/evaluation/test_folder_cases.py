"""Cases of a folder: what is read, when, and that nothing is left out."""

import json

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.data.images import fit_image
from anchoredit_jax.errors import ProblemsError, UserError
from anchoredit_jax.evaluation.folder_cases import find_gone, folder_cases, read_sources
from tests.damage import damage_bytes, damage_value
from tests.session_builder.benchmark_input import pixels, write_session

SIZE = (8, 16)
THREE = {"instructions": [{"en": "a", "zh": "甲"}, {"en": ""}, {"en": "c"}]}


def fitted(seed):
    return fit_image(pixels(seed), SIZE)[0]


def test_a_source_and_its_instructions_are_enough(tmp_path):
    write_session(tmp_path, "b.2", {0: pixels(0)}, THREE)
    write_session(tmp_path, "a", {0: pixels(1)}, {"edit_prompt": ["x", "y"]})
    write_session(tmp_path, "日本", {0: pixels(2)}, {"instructions": ["z"]})
    cases = folder_cases(tmp_path, SIZE)
    assert [case.name for case in cases] == ["a", "b.2", "日本"]
    assert [case.instructions for case in cases] == [
        ("x", "y"),
        ("a", "", "c"),
        ("z",),
    ]
    for case, seed in zip(cases, (1, 0, 2), strict=True):
        np.testing.assert_array_equal(case.source, fitted(seed))
        assert case.read_truth is None and case.returns_to == ()


def test_the_truth_is_read_when_it_is_asked_for(tmp_path):
    images = {n: pixels(n) for n in range(4)}
    folder = write_session(tmp_path, "a", images, THREE)
    (case,) = folder_cases(tmp_path, SIZE)
    np.testing.assert_array_equal(case.read_truth(), [fitted(n) for n in range(4)])
    Image.fromarray(pixels(9)).save(folder / "a.2.png")
    np.testing.assert_array_equal(case.read_truth()[2], fitted(9))
    (folder / "a.3.png").unlink()
    with pytest.raises(UserError, match="a.3.png' does not exist"):
        case.read_truth()


def test_answers_count_only_if_all_are_there(tmp_path):
    write_session(tmp_path, "a", {n: pixels(n) for n in range(3)}, THREE)
    (case,) = folder_cases(tmp_path, SIZE)
    assert case.read_truth is None
    (case,) = folder_cases(tmp_path, SIZE, turns=2)  # of these, all are there
    assert case.instructions == ("a", "") and case.read_truth().shape == (3, *SIZE, 3)


def test_fewer_turns_and_sessions(tmp_path):
    document = {"instructions": ["x"] * 4, "turns": [{}, {}, {"returns_to": 1}, {}]}
    write_session(tmp_path, "a", {0: pixels(0)}, document)
    write_session(tmp_path, "b", {0: pixels(1)}, {"instructions": ["y"]})
    write_session(tmp_path, "c", {}, None)
    first, second = folder_cases(tmp_path, SIZE, turns=3, limit=2)
    assert (len(first.instructions), first.returns_to) == (3, (None, None, 1))
    assert second.instructions == ("y",)  # a shorter one stays whole
    for wrong in ({"turns": 0}, {"limit": -1}):
        with pytest.raises(UserError, match="must be 1 or more"):
            folder_cases(tmp_path, SIZE, **wrong)


def test_languages(tmp_path):
    document = {"instructions": [{"en": "a", "zh": "甲"}]}
    write_session(tmp_path, "a", {0: pixels(0)}, document)
    assert folder_cases(tmp_path, SIZE, "zh")[0].instructions == ("甲",)
    with pytest.raises(ProblemsError, match="a: no language: .* turn 1 has no 'de'"):
        folder_cases(tmp_path, SIZE, "de")


BAD = {
    "missing image: no image of it": ({}, THREE),
    "missing image: no image 0": ({1: pixels(1)}, THREE),
    "missing image: no image 1": ({0: pixels(0), 2: pixels(2)}, THREE),
    "missing json": ({0: pixels(0)}, None),
    "wrong count: 5 images, but 3": ({n: pixels(n) for n in range(5)}, THREE),
    "the document has no instructions": ({0: pixels(0)}, {"instructions": []}),
    "damaged image": ({0: b"\x89PNG\r\n\x1a\n"}, THREE),
    "unfit size": ({0: pixels(0, 7, 7)}, THREE),
    "'turns' must be a list of 3": ({0: pixels(0)}, THREE | {"turns": 3}),
    "turn 2 has 'returns_to' 2": (
        {0: pixels(0)},
        THREE | {"turns": [{}, {"returns_to": 2}, {}]},
    ),
    "turn 1 has 'returns_to' True": (
        {0: pixels(0)},
        THREE | {"turns": [{"returns_to": True}, {}, {}]},
    ),
    "turn 3 has 'scope' 'all'": (
        {0: pixels(0)},
        THREE | {"turns": [{}, {}, {"scope": "all"}]},
    ),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_session_is_named_and_ends_the_evaluation(tmp_path, reason):
    write_session(tmp_path, "a", {0: pixels(0)}, THREE)
    write_session(tmp_path, "bad", *BAD[reason])
    with pytest.raises(ProblemsError, match=f"bad: .*{reason}") as caught:
        folder_cases(tmp_path, SIZE)
    assert len(caught.value.problems) == 1 and "\n" not in str(caught.value)


def test_a_damaged_answer_is_found_before_the_evaluation(tmp_path):
    images = {n: pixels(n) for n in range(4)}
    folder = write_session(tmp_path, "a", images, THREE)
    whole = (folder / "a.2.png").read_bytes()
    (folder / "a.2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ProblemsError, match="a: damaged image"):
        folder_cases(tmp_path, SIZE)


def test_all_problems_are_counted_and_the_first_are_shown(tmp_path):
    for n in range(7):
        write_session(tmp_path, f"s{n}", {0: pixels(n)}, None)
    write_session(tmp_path, "un safe", {0: pixels(0)}, THREE)
    stranger = write_session(tmp_path, "z", {0: pixels(0)}, THREE) / "z.1.bmp"
    stranger.touch()
    with pytest.raises(ProblemsError) as caught:
        folder_cases(tmp_path, SIZE)
    text, problems = str(caught.value), caught.value.problems
    assert text.startswith(f"9 problems with the sessions of {str(tmp_path)!r}: s0: ")
    assert "s4: " in text and "s5: " not in text and "and 4 more" in text
    assert "the name 'un safe' is not safe" in problems[7]
    assert problems[8].startswith("z/z.1.bmp: unknown file")


def test_hidden_files_are_no_sessions(tmp_path):
    folder = write_session(tmp_path, "a", {0: pixels(0)}, THREE)
    (folder / ".DS_Store").touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / "readme.md").touch()
    assert len(folder_cases(tmp_path, SIZE)) == 1


def test_what_is_no_folder_of_sessions(tmp_path):
    with pytest.raises(UserError, match="do not exist"):
        folder_cases(tmp_path / "gone", SIZE)
    (tmp_path / ".git").mkdir()
    with pytest.raises(UserError, match="no sessions in"):
        folder_cases(tmp_path, SIZE)
    write_session(tmp_path, "a", {0: pixels(0)}, THREE)
    (tmp_path / "b.tar").touch()
    for source in (tmp_path, tmp_path / "b.tar"):
        with pytest.raises(UserError, match="b.tar' is a tar shard: .* unpack it"):
            folder_cases(source, SIZE)


@pytest.mark.parametrize(
    ("manifest", "match"),
    [
        ("[", "cannot be read"),
        ("{}", "no manifest of a benchmark"),
        (json.dumps({"format": 2, "sources": {}}), "of format 2, this version reads 1"),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path, manifest, match):
    write_session(tmp_path, "a", {0: pixels(0)}, THREE)
    (tmp_path / "benchmark.json").write_text(manifest)
    with pytest.raises(UserError, match=match):
        folder_cases(tmp_path, SIZE)


def test_damages_of_a_manifest_are_refused_or_do_not_matter(tmp_path):
    path, refused = tmp_path / "benchmark.json", 0
    manifest = {"format": 1, "sessions": 2, "turns": 3, "sources": {
        "a": {"sha256": "ab"}, "b": {"sha256": "cd"}
    }}  # fmt: skip
    data = json.dumps(manifest).encode()
    for seed in range(200):
        if seed % 2:
            path.write_text(json.dumps(damage_value(manifest, seed)))
        else:
            path.write_bytes(damage_bytes(data, seed))
        try:
            for line in find_gone(tmp_path, read_sources(tmp_path)):
                assert line.endswith("but gone")
        except UserError:
            refused += 1
    assert 100 < refused < 200
    path.write_text(json.dumps({**manifest, "sources": {"n" * 300: {"sha256": "a"}}}))
    assert len(find_gone(tmp_path, read_sources(tmp_path))) == 1
