import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.watching.axis import NARROWEST, make_axes
from anchoredit_jax.watching.reading import read_workdirs
from tests.watching.made_up import write_rows


def make(workdir, **steps):
    for stage, count in steps.items():
        write_rows(workdir / stage, [{"step": count, "loss": 1.0}])
    return workdir


def test_stages_stand_in_the_curriculums_order_and_others_behind_them(tmp_path):
    stages = ("zeta", "consistency", "alpha", "single_turn")
    make(tmp_path, **dict.fromkeys(stages, 5))
    (tmp_path / "causal_forcing").mkdir()
    (tmp_path / "causal_forcing" / "config.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    (workdir,) = read_workdirs([tmp_path])
    names = [stage.name for stage in workdir.stages]
    assert names == ["single_turn", "causal_forcing", "consistency", "alpha", "zeta"]
    assert workdir.current.name == "zeta" and workdir.name == tmp_path.name


def test_what_is_no_workdir_is_refused_and_told_what_was_looked_for(tmp_path):
    make(tmp_path / "W", single_turn=3)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, said in (
        ("nothing", "does not exist"),
        ("file", "is a file"),
        ("empty", r"looked for folders with metrics\.jsonl, config\.json, checkpoints"),
        ("W/single_turn", "a stage's own folder: give .*W"),
    ):
        with pytest.raises(UserError, match=said):
            read_workdirs([tmp_path / name])
    with pytest.raises(UserError, match="is given twice"):
        read_workdirs([tmp_path / "W", tmp_path / "empty" / ".." / "W"])
    with pytest.raises(UserError, match="one or two, given 3"):
        read_workdirs([tmp_path / "W"] * 3)


def test_workdirs_of_the_same_name_are_told_by_their_paths(tmp_path):
    paths = [make(tmp_path / name / "W", single_turn=3) for name in "ab"]
    assert [w.name for w in read_workdirs(paths)] == [str(path) for path in paths]


def test_a_stage_has_one_place_in_both_and_a_short_one_is_seen(tmp_path):
    first = make(tmp_path / "a", single_turn=1000, consistency=1)
    second = make(tmp_path / "b", single_turn=500, causal_forcing=3000)
    axes = make_axes(read_workdirs([first, second]))
    spans = axes[0].spans
    assert [(span.stage, span.last) for span in spans] == [
        ("single_turn", 1000), ("causal_forcing", 3000), ("consistency", 1),
    ]  # fmt: skip
    assert spans[0].left == 0 and spans[-1].right == pytest.approx(1)
    for one, following in zip(spans, spans[1:], strict=False):
        assert one.right == following.left
    assert all(span.right - span.left > 0.8 * NARROWEST for span in spans)
    half = spans[0].place(500)
    assert half == pytest.approx((spans[0].left + spans[0].right) / 2)
    assert [axis.name for axis in axes[1:]] == [span.stage for span in spans]
    assert len(make_axes(read_workdirs([make(tmp_path / "c", consistency=7)]))) == 1
