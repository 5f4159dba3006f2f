"""The whole evaluation on a tiny random network: everything is written and printed."""

import csv
import functools
import json
import types

import jax
import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.data.buckets import BucketConfig
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation import (
    PARTS,
    Contestant,
    Settings,
    check_parts,
    evaluate,
    format_report,
    parse_policies,
)
from anchoredit_jax.evaluation.frame_store import FrameStore
from anchoredit_jax.evaluation.html_report import write_html
from anchoredit_jax.evaluation.report import WRITTEN
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.session import rollout
from anchoredit_jax.session.shapes import editing_size

SMALL = dict(
    sessions=3,
    turns=2,
    story_sessions=2,
    ambiguous_sessions=2,
    identity_sessions=2,
    batch=2,
)


def sessions_of(kind):
    """Of prepared ones: at 16 pixels 16 x 16, 12 x 20 and 20 x 12 are among the sizes
    that they are trained at."""
    if kind != "sessions":
        return None
    return types.SimpleNamespace(path="prepared", buckets=BucketConfig())


def make_contestant(editor, label, *, kind="sprites", seed=0) -> Contestant:
    sampler = SamplerConfig("few_step", 2, 3.0)
    run = types.SimpleNamespace(
        model=editor.run.model,
        stage="causal_forcing",
        memory=MemoryConfig(1, 1),
        sampler=sampler,
        data=types.SimpleNamespace(
            kind=kind, seed=seed, size=16, sessions=sessions_of(kind)
        ),
        codec=types.SimpleNamespace(stride=2),
    )
    sizes = dict(side=16, size_of=functools.partial(editing_size, run))
    editor = types.SimpleNamespace(**{**vars(editor), "run": run, **sizes})
    return Contestant(label, f"weights/{label}", editor, sampler, (sampler,))


@pytest.fixture(scope="module")
def written(tmp_path_factory, tiny_editor):
    out = tmp_path_factory.mktemp("evaluation") / "new" / "report"
    settings = Settings(parse_policies("sink1_window1"), **SMALL)
    contestants = [
        make_contestant(tiny_editor, "teacher"),
        make_contestant(tiny_editor, "student"),
    ]
    return evaluate(contestants, settings, out), out


def test_everything_is_written(written):
    _, out = written
    drawn = {path.name for path in (out / "figures").iterdir()}
    figures = {
        f"drift_{part}_{group}_{name}.png"
        for part, groups in (
            ("table", ("edits", "identity", "colour")),
            ("identity", ("identity", "colour")),
        )
        for group in groups
        for name in ("student", "teacher", "by_checkpoint_sink1_window1")
    }
    sheets = {
        f"sheet_{part}_{name}.png"
        for part in ("table", "identity")
        for name in ("student", "teacher")
    }
    front = {"front_teacher.png", "front_student.png", "front_curves.png"}
    assert drawn == figures | sheets | front | {"story.png", "story_student.png"}
    written = {path.name for path in out.iterdir()}
    assert written == {".anchoredit.json", "frames", *WRITTEN}


def test_the_page_needs_nothing_else(written):
    """All pictures are inside of it, and nothing is fetched."""
    report, out = written
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(list(out.glob("figures/*")))
    for outside in ("http:", "https:", "<script", "<link", 'src="/', "url("):
        assert outside not in page
    assert "Evaluation of teacher, student" in page
    assert "student, sink 1 + window 1" in page
    value = report["table"]["student"]["sink1_window1"]["per_turn"]["success"][1]
    assert f">{value['mean']:.4g}</span>" in page


def test_the_page_opens_with_question_and_answer(written):
    """Sheets, curves and a summary follow; all else is folded, glossary included."""
    _, out = written
    page = (out / "report.html").read_text()
    first, *folded = page.split("<details>")
    assert "<h1>Which edits better over 2 turns: teacher or student?</h1>" in first
    assert "3 sessions are too few" in first
    assert first.count("<img") == 3  # a sheet each, and the curves
    assert "What teacher made of the first session" in first
    assert len(folded) >= 8 and "<details open" not in page and "<pre>" not in first
    assert "<dt>SR@k</dt>" in folded[0] and "<dt>teacher</dt>" in folded[-1]
    for caption in page.split("<figcaption><small>")[1:]:
        assert caption.partition("</small>")[0].endswith(".")  # a sentence


def test_texts_of_a_page_are_no_markup(tmp_path, written):
    report, _ = written
    report = {**report, "contestants": [{"label": "<b>&"}]}
    write_html(tmp_path / "page.html", report, "<i>", ([], []), {}, ())
    page = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;&amp;" in page and "<pre>&lt;i&gt;</pre>" in page


def test_means_as_csv(written):
    report, out = written
    with (out / "turns.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = [
        row
        for row in rows
        if (row["part"], row["checkpoint"], row["measure"], row["turn"])
        == ("table", "student", "source_difference", "2")
    ]
    value = report["table"]["student"]["sink1_window1"]["per_turn"]
    assert float(row["mean"]) == value["source_difference"][1]["mean"]
    assert row["count"] == "3" and row["policy"] == "sink1_window1"
    assert {row["part"] for row in rows} == {"table", "identity"}


def test_every_value_as_csv(written):
    report, out = written
    with (out / "sessions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (3 * 2 + 2 * 2)  # checkpoints x (sessions, loops) x turns
    mine = [
        float(row["source_difference"])
        for row in rows
        if (row["part"], row["checkpoint"], row["turn"]) == ("table", "teacher", "2")
    ]
    value = report["table"]["teacher"]["sink1_window1"]["per_turn"]
    assert np.mean(mine) == pytest.approx(value["source_difference"][1]["mean"])
    loops = [row for row in rows if row["part"] == "identity"]
    assert {row["instruction"] for row in loops} == {""}
    assert {row["success"] for row in loops} == {""}


def test_report_is_strict_json_and_what_was_returned(written):
    report, out = written

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = (out / "report.json").read_text()
    assert json.loads(text, parse_constant=refuse) == json.loads(json.dumps(report))
    assert report["settings"]["sessions"] == 3
    assert report["settings"]["policies"] == {"sink1_window1": {"sink": 1, "window": 1}}
    table = report["table"]["student"]["sink1_window1"]
    assert table["sessions"] == 3 and len(table["per_turn"]["success"]) == 2
    assert set(report["ambiguous"]["teacher"]) == {"few_step:2"}
    assert set(report["story"]["teacher"]) == {"sink1_window1"}


def test_equal_checkpoints_do_not_differ(written):
    report, _ = written
    (entry,) = report["comparisons"]
    assert entry["first"] == {"checkpoint": "teacher", "policy": "sink1_window1"}
    assert entry["second"] == {"checkpoint": "student", "policy": "sink1_window1"}
    assert entry["difference"]["success"]["mean"] == 0.0


def test_parts_can_be_left_out(tmp_path, capsys, tiny_editor):
    settings = Settings(parse_policies("sink1_window1"), parts=("story",), **SMALL)
    report = evaluate([make_contestant(tiny_editor, "toy")], settings, tmp_path)
    assert report["table"] == report["ambiguous"] == {} and report["story"]["toy"]
    assert [path.name for path in tmp_path.glob("figures/*")] == ["story.png"]
    printed = capsys.readouterr().out
    assert "cover, other edits, uncover" in printed and "ambiguous" not in printed


def test_wrong_input_writes_nothing(tmp_path, tiny_editor):
    settings = Settings(parse_policies("full"), **SMALL)
    out = tmp_path / "report"
    toy = make_contestant(tiny_editor, "toy")
    cases = [
        ([], "no checkpoint"),
        ([toy, toy], "share a name"),
        ([make_contestant(tiny_editor, "a", kind="sessions")], "give --dataset"),
        ([make_contestant(tiny_editor, "a", seed=900_000_000)], "another --seed"),
    ]
    for contestants, message in cases:
        with pytest.raises(UserError, match=message):
            evaluate(contestants, settings, out)
    assert not out.exists()
    out.write_text("a file")
    with pytest.raises(UserError, match="is not a folder"):
        evaluate([toy], settings, out)


@pytest.mark.parametrize(
    "change",
    [
        {"sessions": 0},
        {"turns": 0},
        {"batch": 0},
        {"repetitions": 0},
        {"seed": -1},
        {"parts": ("tables",)},
        {"parts": ()},
        {"identity_sessions": 0},
        {"sessions": None},
        {"dataset": "folder", "parts": ("story",)},
        {"dataset": "folder", "parts": ("table",), "shapes": ((16, 16),)},
    ],
)
def test_wrong_settings(change):
    with pytest.raises(UserError, match="must be "):
        check_parts(Settings(parse_policies("full"), **{**SMALL, **change}))


def test_results_are_reproducible(tmp_path, written, tiny_editor):
    report, _ = written
    settings = Settings(parse_policies("sink1_window1"), parts=("table",), **SMALL)
    other = make_contestant(tiny_editor, "another")
    evaluate([other], settings, tmp_path)
    again = evaluate([make_contestant(tiny_editor, "toy")], settings, tmp_path)
    assert not list((tmp_path / "figures").glob("*another*"))
    first = report["table"]["teacher"]["sink1_window1"]["per_turn"]["subject_psnr"]
    second = again["table"]["toy"]["sink1_window1"]["per_turn"]["subject_psnr"]
    means = [[turn["mean"] for turn in turns] for turns in (first, second)]
    np.testing.assert_allclose(*np.array(means, float), atol=0.05)


def test_a_stopped_evaluation_goes_on(tmp_path, monkeypatch, written, tiny_editor):
    """Sessions that were finished are not edited again, and the result is the same."""
    report, _ = written
    settings = Settings(parse_policies("sink1_window1"), parts=("table",), **SMALL)
    toy, turns = make_contestant(tiny_editor, "teacher"), []
    run_turn = rollout._turn

    def counted(*args, **options):
        if len(turns) == stop:
            raise KeyboardInterrupt
        turns.append(args)
        return run_turn(*args, **options)

    monkeypatch.setattr(rollout, "_turn", counted)
    stop = 3  # in the second of two batches of two turns
    with pytest.raises(KeyboardInterrupt):
        evaluate([toy], settings, tmp_path)
    assert len(list(tmp_path.rglob("sprite_*.png"))) == 2
    stop, turns = None, []
    again = evaluate([toy], settings, tmp_path)
    assert len(turns) == 2
    assert again["table"]["teacher"] == report["table"]["teacher"]


def test_the_weights_are_read_once(tmp_path, monkeypatch, tiny_editor):
    """Not once a part and policy: of 14B that is most of a small evaluation."""
    read = []
    monkeypatch.setattr(
        "anchoredit_jax.evaluation.settings.digest",
        lambda params: read.append(params) or "0123456789abcdef",
    )
    policies = parse_policies("sink1_window1,full")
    settings = Settings(policies, parts=("table", "identity"), **SMALL)
    evaluate([make_contestant(tiny_editor, "toy")], settings, tmp_path)
    assert len(read) == 1


def test_results_of_other_weights_are_refused(tmp_path, tiny_editor):
    settings = Settings(parse_policies("sink1_window1"), parts=("table",), **SMALL)
    evaluate([make_contestant(tiny_editor, "toy")], settings, tmp_path)
    params = jax.tree.map(lambda leaf: leaf + 1, tiny_editor.params)
    other = types.SimpleNamespace(**{**vars(tiny_editor), "params": params})
    with pytest.raises(UserError, match="another weights"):
        evaluate([make_contestant(other, "toy")], settings, tmp_path)


SHAPES = ((32, 32), (24, 40))  # edited at 16 x 16 and 12 x 20


@pytest.fixture(scope="module")
def by_shape(tmp_path_factory, tiny_editor):
    """Eight sessions and four stories, in batches of two."""
    out = tmp_path_factory.mktemp("shapes")
    settings = Settings(
        parse_policies("sink1_window1"),
        **{**SMALL, "sessions": 8, "story_sessions": 4},
        shapes=SHAPES,
        parts=("table", "story", "identity"),
    )
    toy = make_contestant(tiny_editor, "toy", kind="sessions")
    return evaluate([toy], settings, out), out


def test_every_shape_has_as_many_sessions(by_shape):
    report, out = by_shape
    for part, sessions in (("table", 4), ("story", 2)):
        result = report[part]["toy"]["sink1_window1"]
        assert list(result["by_shape"]) == ["32x32", "24x40"]
        counts = [one["sessions"] for one in result["by_shape"].values()]
        assert counts == [sessions] * 2 and result["sessions"] == 2 * sessions
        assert "by_shape" not in result["by_shape"]["24x40"]
    identity = report["identity"]["toy"]["sink1_window1"]
    assert "by_shape" not in identity  # two sessions, of one shape
    assert report["settings"]["shapes"] == SHAPES
    with (out / "sessions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "table"]
    assert [row["shape"] for row in rows[:8:2]] == ["32x32", "32x32", "24x40", "24x40"]


def test_all_shapes_together_are_the_mean_of_each(by_shape):
    report, _ = by_shape
    result = report["table"]["toy"]["sink1_window1"]
    for turn in (0, 1):
        for measure in ("untouched_psnr", "source_difference"):
            whole = result["per_turn"][measure][turn]
            parts = [
                one["per_turn"][measure][turn] for one in result["by_shape"].values()
            ]
            assert whole["count"] == sum(part["count"] for part in parts) > 0
            mean = np.average(
                [part["mean"] for part in parts], weights=[p["count"] for p in parts]
            )
            assert whole["mean"] == pytest.approx(mean)


def test_pictures_are_edited_at_their_training_size(by_shape, tiny_editor):
    """Frames have the bucket's size; alone, a session has the same result."""
    _, out = by_shape
    cases = PARTS["table"].cases(
        Settings(parse_policies("full"), sessions=8, turns=2, shapes=SHAPES),
        make_contestant(tiny_editor, "", kind="sessions").editor,
    )
    sizes = [case.source.shape[:2] for case in cases]
    assert sizes[::2] == [(16, 16), (12, 20)] * 2
    store = FrameStore(out / "frames" / "toy" / "table" / "sink1_window1")
    for case in cases:
        assert store.holds(case)
        assert store.read(case).shape == (2, *case.source.shape)
    alone = rollout.rollout_sessions(
        tiny_editor,
        [case.source for case in cases[2:4]],
        [case.instructions for case in cases[2:4]],
        SamplerConfig("few_step", 2, 3.0),
        MemoryConfig(1, 1),
        ids=[2, 3],
        batch=2,
    )
    for case, frames in zip(cases[2:4], alone, strict=True):
        assert np.abs(store.read(case).astype(int) - frames).max() <= 1


def test_a_table_by_shape_is_printed(by_shape):
    report, out = by_shape
    printed = format_report(report)
    for shape in ("32x32", "24x40"):
        assert f"sink 1 + window 1, {shape}" in printed
    assert "of the story" in (out / "report.html").read_text()


def test_squares_are_shown_to_what_knows_squares_only(tmp_path, tiny_editor):
    settings = Settings(
        parse_policies("sink1_window1"), parts=("table",), shapes=((24, 40),), **SMALL
    )
    report = evaluate([make_contestant(tiny_editor, "toy")], settings, tmp_path)
    assert report["table"]["toy"]["sink1_window1"]["sessions"] == 3
    (first, *_) = sorted(tmp_path.rglob("sprite_*.png"))
    with Image.open(first) as strip:
        assert strip.size == (16, 32)  # two turns of 16 x 16
