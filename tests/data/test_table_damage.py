"""Damaged tables: what is wrong is named, the rest is read, nothing is half-made."""

import copy
import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from anchoredit_jax.data.prepared import PreparedSessions, prepare
from anchoredit_jax.data.sessions.raw import RefusedError
from anchoredit_jax.data.sessions.tables import json_lines, pages, parquet
from anchoredit_jax.errors import UserError

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

TABLES = "anchoredit_jax.data.sessions.tables."


def strip():
    out = io.BytesIO()
    Image.fromarray(np.zeros((8, 400, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def change(row, **values):
    return lambda rows: [{**r, **values} if i == row else r for i, r in enumerate(rows)]


# What is done to the rows of session 0 (turns 1, 2, 3), and the reason that is told.
ROWS = {
    "null target": (change(1, target_img=None), "missing image"),
    "null first source": (change(0, source_img=None), "missing image"),
    "struct of nulls": (change(2, target_img=struct(None)), "missing image"),
    "path without bytes": (
        change(2, target_img=struct(None, "a.png")),
        "missing image",
    ),
    "empty bytes": (change(1, target_img=struct(b"")), "missing image"),
    "no image": (change(1, target_img=struct(b"GIF? no")), "damaged image"),
    "cut image": (change(1, target_img=struct(picture(1)[:90])), "damaged image"),
    "cut last image": (change(2, target_img=struct(picture(1)[:90])), "damaged image"),
    "a strip": (change(2, target_img=struct(strip())), "unfit size"),
    "null instruction": (change(1, instruction=None), "bad row"),
    "a long text": (change(1, instruction="x" * 5000), "no language"),
    "null turn": (change(1, turn_index=None), "bad row"),
    "negative turn": (change(1, turn_index=-1), "bad row"),
    "two rows of a turn": (change(1, turn_index=3), "duplicate"),
}


@pytest.mark.parametrize("kind", ROWS)
def test_damaged_rows_drop_their_session(tmp_path, kind):
    spoil, reason = ROWS[kind]
    rows = [*spoil(turn_rows(1)), *turn_rows(2, first=1)]
    sessions, dropped = read(write_parquet(tmp_path / "a.parquet", rows))
    assert [(x.key, x.reason) for x in dropped] == [("0", reason)]
    assert (
        all(is_session(sessions[n], int(n)) for n in ("1", "2")) and len(sessions) == 2
    )


def test_rows_without_a_sound_id_are_named_by_their_number(tmp_path):
    rows = turn_rows(2)
    for row, value in ((0, None), (1, ""), (2, "../up")):
        rows[row] = {**rows[row], "img_id": value}
    sessions, dropped = read(write_parquet(tmp_path / "a.parquet", rows))
    assert list(sessions) == ["1"]
    assert [(x.key, x.reason) for x in dropped] == [
        ("a/1", "bad row"),
        ("a/2", "bad row"),
        ("a/3", "unsafe name"),
    ]


def test_a_file_without_a_column_is_named(tmp_path):
    write_parquet(tmp_path / "a.parquet", turn_rows(1))
    other = [r for r in turn_rows(1, first=1) if r.pop("target_img")]
    write_parquet(tmp_path / "b.parquet", other)
    sessions, dropped = read(tmp_path)
    assert list(sessions) == ["0"]
    assert [(x.key, x.reason) for x in dropped] == [("b", "bad row")]
    assert "no column 'target_img' (target)" in dropped[0].detail


def test_columns_of_another_type_in_one_file(tmp_path):
    write_parquet(tmp_path / "a.parquet", turn_rows(1))
    rows = turn_rows(3, first=1)
    for row in rows:
        row["target_img"] = 7
    write_parquet(tmp_path / "b.parquet", rows)
    sessions, dropped = read(tmp_path)
    assert list(sessions) == ["0"] and {x.reason for x in dropped} == {"bad row"}
    assert len(dropped) == 3 and "is no image but a int" in dropped[0].detail


def test_a_parquet_that_is_cut(tmp_path):
    write_parquet(tmp_path / "a.parquet", turn_rows(1))
    path = write_parquet(tmp_path / "b.parquet", turn_rows(3, first=1))
    path.write_bytes(path.read_bytes()[:-1000])
    (tmp_path / "c.parquet").write_bytes(b"")
    (tmp_path / "d.parquet").write_bytes(b"PAR1 is not all of it")
    sessions, dropped = read(tmp_path)
    assert list(sessions) == ["0"]
    assert [(x.key, x.reason) for x in dropped] == [
        (name, "damaged shard") for name in ("b", "c", "d")
    ]
    with pytest.raises(UserError, match="no table in .* can be read; .*no sound parq"):
        read(path)


def test_a_parquet_with_damage_in_its_middle(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", turn_rows(5), 5, compression="zstd")
    with parquet._opened(str(path)) as file:
        group = file.metadata.row_group(1)  # of session 1 turn 3, of session 3 turn 1
        place = group.column(group.num_columns - 2).data_page_offset
    data = bytearray(path.read_bytes())
    data[place - 20 : place + 200] = b"\xff" * 220
    path.write_bytes(data)
    sessions, dropped = read(path)
    assert [(x.key, x.reason) for x in dropped] == [
        ("a", "damaged shard"),
        ("1", "missing turn"),
        ("3", "missing turn"),
    ]
    assert "rows 6 to 10: it is no sound parquet" in dropped[0].detail
    assert list(sessions) == ["0", "4"] and is_session(sessions["4"], 4)


def test_interleaved_sessions_are_whole_and_distant_ones_refused(tmp_path, monkeypatch):
    rows = turn_rows(4)
    circle = [rows[3 * n + turn] for turn in (2, 0, 1) for n in range(4)]
    path = write_parquet(tmp_path / "a.parquet", circle, group=2)
    sessions, dropped = read(path)
    assert not dropped and all(is_session(sessions[str(n)], n) for n in range(4))
    monkeypatch.setattr(TABLES + "read.MAX_WAITING", 5 * len(picture(1)))
    sessions, dropped = read(path)
    assert {x.reason for x in dropped} == {"scattered"} and len(sessions) < 4
    assert len(dropped) + len(sessions) == 4 and "sort the table" in dropped[0].detail


def test_rows_that_lie_too_far_apart_are_refused_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(TABLES + "read.MAX_WAITING", 2**20)
    monkeypatch.setattr(TABLES + "parts.ROWS", 3)
    monkeypatch.setattr(TABLES + "parts.MAX_AHEAD", 2)
    rows = turn_rows(6)
    far = [*rows[:2], *rows[3:], rows[2]]
    sessions, dropped = read(write_parquet(tmp_path / "a.parquet", far, group=3))
    assert [(x.key, x.reason) for x in dropped] == [("0", "scattered")]
    assert sorted(sessions) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("column", ["instruction", "target_img"])
def test_large_values_are_refused_before_they_are_loaded(tmp_path, monkeypatch, column):
    monkeypatch.setattr(parquet, "MAX_JSON_BYTES", 2**20)
    monkeypatch.setattr(parquet, "MAX_IMAGE_BYTES", 2**20)
    monkeypatch.setattr(parquet, "MAX_SESSION_BYTES", 2 * 2**20)
    rows = turn_rows(2)
    large = b"x" * (3 * 2**20)
    rows[1][column] = large.decode() if column == "instruction" else struct(large)
    path = write_parquet(tmp_path / "a.parquet", rows, group=3, compression="zstd")
    loaded, next_batch = [], parquet._next

    def spy(batches):
        batch = next_batch(batches)
        loaded.append(0 if batch is None else batch.nbytes)
        return batch

    monkeypatch.setattr(parquet, "_next", spy)
    sessions, dropped = read(path)
    assert is_session(sessions["1"], 1) and "0" not in sessions
    (told,) = [x for x in dropped if x.reason == "too large"]
    assert f"a page of '{column}" in told.detail and "rows 1 to 3" in told.detail
    assert max(loaded) < 2**20


@pytest.mark.parametrize(
    "options",
    [
        {"data_page_version": "2.0", "compression": "snappy"},
        {"use_dictionary": False, "compression": "none", "data_page_size": 500},
        {"write_page_checksum": True, "write_page_index": True},
    ],
)
def test_page_headers_of_every_writer_are_read(tmp_path, options):
    path = write_parquet(tmp_path / "a.parquet", turn_rows(20), 30, **options)
    with parquet._opened(str(path)) as file:
        group = file.metadata.row_group(1)
        columns = [group.column(i) for i in range(group.num_columns)]
    (images,) = [c for c in columns if c.path_in_schema == "target_img.bytes"]
    largest = max(len(picture(n)) for n in range(300))
    assert images.total_uncompressed_size > 8 * largest
    pages.check_pages(
        str(path), [images], 4 * largest, 2**20
    )  # thirty of them are in it
    with pytest.raises(RefusedError, match="at most 9 a value"):
        pages.check_pages(str(path), [images], 9, 2**20)
    for column in columns:
        with pytest.raises(RefusedError, match="and 2 together are read"):
            pages.check_pages(str(path), [column], 2**20, 2)


LINES = {
    "no json": (b"{", "bad json"),
    "a list": (b"[1]", "bad json"),
    "no UTF-8": (b'{"source": "\xff"}', "bad json"),
    "deep": (b"[" * 100_000, "bad json"),
    "a path upwards": ({"target": "../1.png"}, "unsafe name"),
    "a path upwards inside": ({"target": "a/../../1.png"}, "unsafe name"),
    "an absolute path": ({"target": "/etc/hostname"}, "unsafe name"),
    "a drive": ({"target": "C:\\1.png"}, "unsafe name"),
    "an address": ({"target": "https://example.org/1.png"}, "missing image"),
    "no such file": ({"target": "gone.png"}, "missing image"),
    "a zero in a name": ({"target": "a\0.png"}, "missing image"),
    "a folder": ({"target": "folder"}, "unknown file"),
    "a number": ({"target": 3}, "bad row"),
    "a null": ({"target": None}, "missing image"),
    "two lists": ({"target": ["1.png", "0.png"]}, "wrong count"),
    "texts of two counts": ({"instruction_zh": ["a", "b"]}, "wrong count"),
    "an empty list": ({"instruction": [], "target": []}, "wrong count"),
    "nested texts": ({"instruction": [["a"]]}, "no language"),
    "a number as a text": ({"instruction": 5}, "no language"),
    "an odd id": ({"id": {"a": 1}}, "bad row"),
    "an id upwards": ({"id": "a/../.."}, "unsafe name"),
}


@pytest.mark.parametrize("kind", LINES)
def test_damaged_lines_are_dropped_alone(tmp_path, kind):
    write_images(tmp_path, (0, 1))
    (tmp_path / "folder").mkdir()
    good = {"source": "0.png", "target": "1.png", "instruction": "edit 0 1"}
    line, reason = LINES[kind]
    bad = line if isinstance(line, bytes) else {**good, **line}
    path = write_lines(tmp_path / "a.jsonl", [good, bad, {**good, "id": "last"}])
    sessions, dropped = read(path)
    assert [x.reason for x in dropped] == [reason] and dropped[0].key == "a/2"
    assert list(sessions) == ["a/1", "last"] and is_session(sessions["last"], 0, 1)


def test_links_out_of_a_table_s_folder(tmp_path):
    write_images(tmp_path / "far", (1,))
    write_images(tmp_path / "set", (0,))
    (tmp_path / "set" / "out").symlink_to(tmp_path / "far")
    row = {"source": "0.png", "target": "out/1.png", "instruction": "edit 0 1"}
    path = write_lines(tmp_path / "set" / "a.jsonl", [row])
    assert list(read(path)[0]) == ["a/1"]
    sessions, (dropped,) = read(path, links="refuse")
    assert not sessions and dropped.reason == "link"


def test_a_line_without_an_end_and_one_that_is_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "MAX_JSON_BYTES", 200)
    write_images(tmp_path, (0, 1))
    good = {"source": "0.png", "target": "1.png", "instruction": "edit 0 1"}
    rows = [good, {**good, "instruction": "x" * 3000}, good, good]
    path = write_lines(tmp_path / "a.jsonl", rows)
    path.write_bytes(path.read_bytes()[:-9])
    sessions, dropped = read(path)
    assert list(sessions) == ["a/1", "a/3"]
    assert [(x.key, x.reason) for x in dropped] == [
        ("a/2", "too large"),
        ("a/4", "bad json"),
    ]


def two_sources(names):
    files = [*names, {"id": "original_input_image", "path": "0.png"}]
    return {"files": files, "instruction": ["edit 0 1"]}


@pytest.mark.parametrize(
    "names, reason",
    [
        ([{"id": "source", "path": "0.png"}], "duplicate"),
        ([{"id": "turn1", "path": "1.png"}, {"id": "turn1"}], "duplicate"),
        ([{"id": "turn1", "path": "1.png"}, {"id": "what"}], "bad row"),
        (["1.png"], "bad row"),
        ([{"id": "turn1", "path": "1.png"}, {"id": "final", "path": "1.png"}], "wro"),
    ],
)
def test_damaged_lists_of_named_files(tmp_path, names, reason):
    write_images(tmp_path, (0, 1))
    good = two_sources([{"id": "turn1", "path": "1.png"}])
    path = write_lines(tmp_path / "a.jsonl", [good, two_sources(names)])
    sessions, (dropped,) = read(path)
    assert list(sessions) == ["a/1"] and dropped.reason.startswith(reason)


def test_damaged_rows_in_shards(tmp_path):
    def row(key, target=None, text=b"edit 0 1"):
        yield f"{key}.source.png", picture(0)
        yield f"{key}.target.png", target or picture(1)
        yield f"{key}.instruction.txt", text

    files = [
        *row("a"),
        *row("b", target=b"no image"),
        *row("c", text=b"\xff\xfe"),
        *[(name, data) for name, data in row("d") if "target" not in name],
        *row("e"),
        ("e.target.png", picture(2)),
        ("../f.target.png", picture(2)),
        ("g.json", b"{"),
        *row("h"),
    ]
    shard = write_shard(tmp_path / "a.tar", files)
    sessions, dropped = read(shard)
    assert list(sessions) == ["a", "h"]
    assert [x.reason for x in dropped] == [
        "damaged image",
        "bad row",
        "missing image",
        "unsafe name",
        "duplicate",
        "bad json",
    ]
    data = shard.read_bytes()
    shard.write_bytes(data[: data.index(b"b.source.png") + tarfile.BLOCKSIZE + 9])
    sessions, dropped = read(shard)
    assert list(sessions) == ["a"] and dropped[-1].reason == "truncated shard"


def test_nothing_is_half_made_of_damaged_tables(tmp_path):
    rows = copy.deepcopy(turn_rows(20))
    for session, (spoil, _) in enumerate(ROWS.values()):
        rows[3 * session : 3 * session + 3] = spoil(rows[3 * session : 3 * session + 3])
    write_parquet(tmp_path / "t" / "a.parquet", pa.Table.from_pylist(rows), group=7)
    report = prepare(tmp_path / "t", tmp_path / "out")
    assert report.kept == 20 - len(ROWS) and len(report.bad) == len(ROWS)
    found = PreparedSessions(tmp_path / "out")
    kept = [found[i] for i in range(len(found))]
    assert [session.key for session in kept] == [str(n) for n in range(len(ROWS), 20)]
    assert all(is_session(session, int(session.key)) for session in kept)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"dataset.json", "parts"} <= names and not any("tmp" in n for n in names)
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert sum(stored["dropped"].values()) == len(ROWS)
    with pytest.raises(UserError, match="more than --max-bad 3"):
        prepare(tmp_path / "t", tmp_path / "few", max_bad=3)
    assert not (tmp_path / "few" / "dataset.json").exists()
    with pytest.raises(UserError, match="has no column|has no such column"):
        prepare(tmp_path / "t", tmp_path / "x", reading=reading("turn=gone"))
