import datetime
import json
import re
from pathlib import Path

import numpy as np
import pytest

from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.watching.page import build_page
from anchoredit_jax.watching.reading import read_workdirs
from anchoredit_jax.watching.records import Change, Curve, StageRecord, WorkdirRecord
from tests.watching.made_up import STAGES, make_workdir, write_rows

NOW = datetime.datetime(2026, 3, 4, 8, 0, 0, tzinfo=datetime.UTC)


def record(name, curves, **more):
    """A stage's record without files."""
    known = dict(
        folder=Path(name), rows=1, written=None, config={}, saved=None, parent=None,
        changes=(), sheets={}, faults=(),
    )  # fmt: skip
    return StageRecord(name, curves=curves, **(known | more))


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    base = tmp_path_factory.mktemp("runs")
    return [
        make_workdir(base / "one", (400, 600, 200), every=4, sheets=2),
        make_workdir(base / "two", (400, 300), seed=1, every=4, sheets=2),
    ]


def test_the_page_needs_nothing_else_and_holds_all_stages_on_one_line(workdirs):
    page = build_page(read_workdirs(workdirs[:1]), NOW)
    for outside in ("http:", "https:", "<link", 'src="/', "url(", "@import"):
        assert outside not in page.replace("data:image/png;base64,", "")
    assert page.count("data:image/png;base64,") == 6
    axes = json.loads(re.search(r'id="axes">(.*?)</script>', page)[1])
    assert [span[:2] for span in axes[""]] == [
        ["single_turn", 400], ["causal_forcing", 600], ["consistency", 200],
    ]  # fmt: skip
    assert list(axes) == ["", *STAGES[:3]]
    for title in (
        "Loss by turn, held out",
        "Waiting for data",
        "Learning rate",
        "Subject against the truth",
        "built 2026-03-04 08:00:00",
    ):
        assert title in page  # fmt: skip
    assert page == build_page(read_workdirs(workdirs[:1]), NOW)


def test_two_workdirs_are_overlaid_in_two_styles(workdirs):
    page = build_page(read_workdirs(workdirs), NOW)
    for number in (0, 1):
        assert page.count(f'<g class="w{number}"') > 50
    loss = page[page.index("<h3>Loss</h3>") :]
    training = re.findall(r'<g class="w(.)" style="--c:(#\w+)" data-line="0"', loss)[:2]
    assert training == [("0", "#0072b2"), ("1", "#0072b2")]
    assert "Between the two" in page and ">optimizer.learning_rate<" in page
    assert "Watching one and two" in page


def test_long_runs_stay_below_5_mb():
    draw = np.random.default_rng(0)
    steps = np.arange(100_000)
    curves = {
        f"{name}/{number}": Curve(steps, draw.lognormal(size=100_000))
        for name in ("noise", "turn", "other")
        for number in range(20)
    }
    short = {name: Curve(steps[:9], c.values[:9]) for name, c in curves.items()}
    stages = (record("single_turn", curves), record("consistency", short))
    runs = [WorkdirRecord(name, Path(name), stages) for name in ("a", "b")]
    assert 5e5 < len(build_page(runs, NOW)) < 5e6
    many = {f"x{n}/{i}": short["turn/1"] for n in range(100) for i in range(20)}
    many = {"loss": curves["turn/1"], **many}
    runs = [WorkdirRecord("a", Path("a"), (record("single_turn", many),))]
    assert len(build_page(runs, NOW)) < 5e6


def test_lineage_and_changes_are_told_and_texts_are_no_markup():
    parent = Lineage("imported", 0, "abcd", {})
    parent = Lineage("single_turn", 500, "ef01", {}, parent)
    change = Change(40, {"optimizer.<b>": (1e-4, "<i>")})
    curve = {"<u>/1": Curve(np.array([80]), np.array([1.0]))}
    stages = (
        record("single_turn", {}, saved=600),
        record("causal_forcing", curve, saved=80, parent=parent, changes=(change,)),
    )
    page = build_page([WorkdirRecord("<s>", Path("x"), stages)], NOW)
    (chain,) = re.findall(r'<ol class="lineage">.*?</ol>', page)
    told = re.sub(r"<.*?>", " ", chain).split()
    assert "imported step 0 abcd, ema single_turn step 500 ef01, ema" in " ".join(told)
    assert "<td>40</td><td>optimizer.&lt;b&gt;</td><td>0.0001</td>" in page
    assert '<path class="change"' in page
    for markup in ("<s>", "<u>", "<i>", "<b>1"):
        assert markup not in page.replace("<i></i>", "")


def test_rows_that_are_not_there_yet_are_told(tmp_path):
    write_rows(tmp_path / "single_turn", [])
    page = build_page(read_workdirs([tmp_path]), NOW)
    assert "no rows yet" in page and "no sample sheets yet" in page
    assert "no checkpoint yet" in page


def test_lines_left_out_are_counted_on_the_page(tmp_path):
    path = write_rows(tmp_path / "single_turn", [{"step": 1, "loss": 1.0}])
    path.write_text(path.read_text() + "garbage\n")
    page = build_page(read_workdirs([tmp_path]), NOW)
    assert "single_turn: metrics.jsonl: 1 line left out" in page
