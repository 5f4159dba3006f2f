"""Tables in the schemas of published sets: every reader, to prepared sessions."""

import subprocess
import sys
from pathlib import Path

import pytest

from anchoredit_jax.data.prepared import PreparedSessions, prepare
from anchoredit_jax.data.sessions import open_source, pack_sessions, read_part
from anchoredit_jax.data.sessions.tables import json_lines, parts
from anchoredit_jax.errors import UserError
from launch import prepare_data

from .raw_files import members, write_folder
from .tables import (
    is_session,
    picture,
    read,
    reading,
    struct,
    turn_rows,
    write_images,
    write_lines,
    write_parquet,
    write_shard,
)

ROOT = Path(__file__).parents[2]


def round_trip(source, tmp_path, how=None, languages=("en",)):
    """The prepared sessions of a source, by key; nothing is dropped."""
    report = prepare(source, tmp_path / "out", reading=how, languages=languages)
    assert not report.bad
    found = PreparedSessions(tmp_path / "out")
    return {found[i].key: found[i] for i in range(len(found))}, report


def one_turn(number):
    """Source and target of a pair."""
    return picture(10 * number), picture(10 * number + 1)


def test_rows_that_are_turns(tmp_path):
    rows = turn_rows(6)
    folder = tmp_path / "set" / "data"
    write_parquet(folder / "train-0.parquet", rows[:11], group=4)
    write_parquet(folder / "train-1.parquet", rows[11:], group=4)
    found, report = round_trip(tmp_path / "set", tmp_path)
    assert list(found) == [str(n) for n in range(6)]
    assert all(is_session(found[str(n)], n) for n in range(6))
    assert "parquet, one row a turn" in report.source and "turn=turn_index" in (
        report.describe()
    )


@pytest.mark.parametrize("rows_of_a_part", [1, 5, 1000])
def test_sessions_cross_row_groups_files_and_parts(
    tmp_path, monkeypatch, rows_of_a_part
):
    monkeypatch.setattr(parts, "ROWS", rows_of_a_part)
    rows = turn_rows(5)
    mixed = [rows[i] for i in (0, 3, 1, 4, 5, 2, 6, 9, 10, 7, 8, 11, 12, 14, 13)]
    for place in range(3):
        some = mixed[5 * place : 5 * place + 5]
        write_parquet(tmp_path / "t" / f"{place}.parquet", some, group=2)
    sessions, dropped = read(tmp_path / "t")
    assert not dropped and sorted(sessions) == ["0", "1", "2", "3", "4"]
    assert all(is_session(sessions[str(n)], n) for n in range(5))
    assert sessions["4"].notes == ("4: its turns were out of order",)


def test_rows_of_lists(tmp_path):
    rows = [
        {
            "id": n,
            "source_image": struct(picture(10 * n)),
            "instructions": [f"edit {n} {turn}" for turn in (1, 2, 3)],
            "target_images": [struct(picture(10 * n + turn)) for turn in (1, 2, 3)],
        }
        for n in range(3)
    ]
    found, _ = round_trip(write_parquet(tmp_path / "a.parquet", rows), tmp_path)
    assert all(is_session(found[str(n)], n) for n in range(3)) and len(found) == 3
    for row in rows:
        row["images"] = [row.pop("source_image"), *row.pop("target_images")]
    sessions, _ = read(write_parquet(tmp_path / "b.parquet", rows))
    assert all(is_session(sessions[str(n)], n) for n in range(3))


def test_pairs_with_plain_bytes_and_columns_of_other_names(tmp_path):
    rows = [
        {
            "avant": picture(10 * n),
            "after.2": picture(10 * n + 1),
            "prompts": [f"edit {n} 1", "another wording"],
            "meta": {"zh": "\u6539"},
            "score": n,
        }
        for n in range(3)
    ]
    path = write_parquet(tmp_path / "pairs.parquet", rows)
    with pytest.raises(UserError, match="known to be the target; name it as --columns"):
        read(path)
    how = reading(
        "source=avant,target=after.2,instruction=prompts.0,instruction.zh=meta.zh",
        quality=(("score", 1),),
    )
    sessions, dropped = read(path, how, languages=("zh",))
    assert list(sessions) == ["pairs/2", "pairs/3"]
    assert is_session(sessions["pairs/3"], 2, 1)
    assert sessions["pairs/3"].instructions["zh"] == ("\u6539",)
    assert [(x.key, x.reason) for x in dropped] == [("pairs/1", "low quality")]


def test_lines_of_sessions_with_named_files_and_a_short_form(tmp_path):
    write_images(tmp_path / "images", range(30))
    rows = [
        {
            "files": [
                {"id": "edit_turn1", "url": f"images/{10 * n + 1}.png"},
                {"id": "edit_turn2", "url": f"images/{10 * n + 2}.png"},
                {"id": "final_image", "url": f"images/{10 * n + 3}.png"},
                {"id": "original_input_image", "url": "https://example.org/1.jpg"},
            ],
            "metadata_edit_turn_prompts": [f"edit {n} {turn}" for turn in (1, 2, 3)],
            "short_instructions": [f"{turn}" for turn in (1, 2, 3)],
            "local_input_image": f"./images/{10 * n}.png",
        }
        for n in range(3)
    ]
    path = write_lines(tmp_path / "multi.jsonl", rows)
    found, report = round_trip(path, tmp_path, languages=("short",))
    assert list(found) == ["multi/1", "multi/2", "multi/3"]
    assert all(is_session(found[f"multi/{n + 1}"], n) for n in range(3))
    assert found["multi/1"].instructions["short"] == ("1", "2", "3")
    assert report.languages == {"text": 3, "short": 3}


def test_lines_of_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "ROWS", 4)
    monkeypatch.setattr(json_lines, "ROWS", 4)
    write_images(tmp_path, range(40))
    rows = [
        {
            "session_id": session,
            "turn_id": turn,
            "source": f"{10 * session}.png" if turn == 1 else None,
            "target": f"{10 * session + turn}.png",
            "instruction": {"en": f"edit {session} {turn}", "zh": "\u6539"},
        }
        for session in range(4)
        for turn in (1, 2, 3)
    ]
    rows.insert(5, b"")
    found, _ = round_trip(write_lines(tmp_path / "turns.jsonl", rows), tmp_path)
    assert all(is_session(found[str(n)], n, language="en") for n in range(4))
    assert set(found["0"].instructions) == {"en"} and len(found) == 4


def test_an_image_folder_with_metadata(tmp_path):
    write_images(tmp_path / "set", (0, 1, 10, 11))
    rows = [
        {
            "file_name": f"{10 * n}.png",
            "edited_file_name": f"{10 * n + 1}.png",
            "edit_prompt": f"edit {n} 1",
        }
        for n in range(2)
    ]
    write_lines(tmp_path / "set" / "metadata.jsonl", rows)
    found, report = round_trip(tmp_path / "set", tmp_path)
    assert is_session(found["metadata/2"], 1, 1) and len(found) == 2
    assert report.source.startswith("format: jsonl, one row a session")


def test_pairs_in_tar_shards(tmp_path):
    files = []
    for n in range(3):
        source, target = one_turn(n)
        files += [
            (f"deep/{n}.source.png", source),
            (f"deep/{n}.target.jpg", target),
            (f"deep/{n}.mask.png", b"-"),
            (f"deep/{n}.instruction.txt", f"edit {n} 1\n".encode()),
            (f"deep/{n}.json", b'{"score": 3}'),
        ]
    shard = write_shard(tmp_path / "pairs-0.tar", files)
    found, report = round_trip(shard, tmp_path)
    assert list(found) == ["deep/0", "deep/1", "deep/2"]
    assert is_session(found["deep/2"], 2, 1) and "webdataset" in report.source


def test_own_shards_and_folders_are_told_from_tables(tmp_path):
    write_parquet(tmp_path / "t" / "a.parquet", turn_rows(2))
    shards = pack_sessions(tmp_path / "t", tmp_path / "packed")
    assert open_source(shards[0]).format == "sessions"
    sessions, dropped = read(tmp_path / "packed")
    assert not dropped and is_session(sessions["1"], 1)
    for how in (reading("source=a"), reading(on_gap="drop")):
        with pytest.raises(UserError, match="--(columns|on-gap) is of tables"):
            open_source(shards[0], how)
    write_folder(tmp_path / "own", [(f"a/{name}", data) for name, data in members("a")])
    (tmp_path / "own" / "metadata.jsonl").write_text("{}")
    (tmp_path / "own" / "circle").symlink_to("circle")
    assert open_source(tmp_path / "own").format == "sessions"
    write_folder(tmp_path / "odd", [("a/...0.png", picture(0))])
    assert open_source(tmp_path / "odd").format == "sessions"
    (tmp_path / "t" / "b.jsonl").write_text("")
    with pytest.raises(UserError, match="--format parquet or jsonl"):
        open_source(tmp_path / "t")
    assert open_source(tmp_path / "t", reading(format="parquet")).format == "parquet"
    found = open_source(str(tmp_path / "t" / "a*.parquet"))
    assert found.format == "parquet" and len(found.parts) == 1


def test_what_changed_in_a_table_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "ROWS", 2)
    monkeypatch.setattr(parts, "ROWS", 2)
    write_images(tmp_path, range(60))
    rows = [
        {
            "source": f"{10 * n}.png",
            "target": f"{10 * n + 1}.png",
            "instruction": f"edit {n} 1",
        }
        for n in range(4)
    ]
    table = write_lines(tmp_path / "a.jsonl", rows)

    def made():
        prepare(table, tmp_path / "out")
        folders = (tmp_path / "out" / "parts").iterdir()
        return {f.name: (f / "report.json").stat().st_mtime_ns for f in folders}

    first = made()
    assert made() == first and len(first) == 2
    (tmp_path / "30.png").write_bytes(picture(50, "JPEG"))
    second = made()
    assert len(second.items() - first.items()) == 1
    rows[0]["instruction"] = "another"
    write_lines(table, rows)
    assert len(made().items() - second.items()) == 1


def test_options_of_tables_are_checked(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", turn_rows(1))
    with pytest.raises(UserError, match="on_gap must be keep, split, drop"):
        reading(on_gap="?")
    with pytest.raises(UserError, match="--format must be auto, sessions, parquet"):
        open_source(path, reading(format="csv"))
    with pytest.raises(UserError, match="has no such column, but 'img_id'"):
        open_source(path, reading("source=gone"))
    for wrong in ("source", "colour=a", "turn=a,turn=b"):
        with pytest.raises(UserError, match="--columns: expected such as"):
            reading(wrong)
    with pytest.raises(UserError, match="known to be the session"):
        open_source(path, reading("session="))
    (part,) = open_source(path).parts
    with pytest.raises(UserError, match="languages must be a list"):
        read_part(part, "en")
    with pytest.raises(UserError, match="holds no file"):
        open_source(tmp_path, reading(format="jsonl"))


def test_reading_and_preparing_need_no_jax(tmp_path):
    write_parquet(tmp_path / "a.parquet", turn_rows(2))
    code = """
import sys
from launch import prepare_data
prepare_data.main(["--source", sys.argv[1], "--out", sys.argv[2], "--quiet"])
assert not {"jax", "flax", "tensorflow", "matplotlib"} & set(sys.modules)
"""
    argv = [
        sys.executable,
        "-c",
        code,
        str(tmp_path / "a.parquet"),
        str(tmp_path / "o"),
    ]
    assert subprocess.run(argv, cwd=ROOT).returncode == 0
    assert len(PreparedSessions(tmp_path / "o")) == 2


def test_flags_of_the_command(tmp_path, capsys):
    rows = [
        {"a": picture(10 * n), "b": picture(10 * n + 1), "c": f"edit {n} 1", "q": n}
        for n in range(4)
    ]
    path = write_parquet(tmp_path / "p.parquet", rows)
    argv = ["--source", str(path), "--format", "parquet", "--quiet"]
    argv += ["--columns", "source=a,target=b,instruction=c", "--min-quality", "q=2"]
    prepare_data.main([*argv, "--out", str(tmp_path / "out"), "--max-bad", "0"])
    told = capsys.readouterr().out
    assert "one row a session (source=a, target=b, instruction=c)" in told
    assert "low quality: 2" in told and "sessions kept: 2" in told
    prepare_data.main([*argv, "--pack", str(tmp_path / "packed")])
    assert "1 shards" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        prepare_data.main([*argv, "--min-quality", "q", "--out", str(tmp_path / "x")])
    assert "--min-quality: expected such as score=7" in capsys.readouterr().err
