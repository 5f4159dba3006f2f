"""Turns that begin from another image than the one before them ended with."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs

from anchoredit_jax.data.prepared import PreparedSessions, prepare
from anchoredit_jax.data.sessions.tables.gaps import same_picture

from .tables import (
    picture,
    read,
    reading,
    struct,
    turn_rows,
    write_lines,
    write_parquet,
)


def gapped(tmp_path):
    """Session 0 whose turn 3 begins from another image, and session 1 without gaps."""
    rows = turn_rows(2)
    rows[2] = {**rows[2], "source_img": struct(picture(99))}
    return write_parquet(tmp_path / "a.parquet", rows)


def test_a_gap_splits_a_session_where_it_is(tmp_path):
    sessions, dropped = read(gapped(tmp_path))
    assert list(sessions) == ["0", "0/from turn 3", "1"] and not dropped
    assert sessions["0"].images == tuple(map(picture, (0, 1, 2)))
    assert sessions["0/from turn 3"].images == (picture(99), picture(3))
    assert sessions["0/from turn 3"].instructions["text"] == ("edit 0 3",)
    (note,) = sessions["0"].notes
    assert note.startswith("0: split: another image") and note.endswith("of turn 3")


def test_a_gap_is_kept_or_dropped_if_asked(tmp_path):
    path = gapped(tmp_path)
    sessions, dropped = read(path, reading(on_gap="keep"))
    assert sessions["0"].images == tuple(map(picture, range(4))) and not dropped
    assert "kept: another image" in sessions["0"].notes[0]
    sessions, (dropped,) = read(path, reading(on_gap="drop"))
    assert list(sessions) == ["1"] and (dropped.key, dropped.reason) == ("0", "gap")


def test_gaps_are_counted_in_the_report_and_chosen_for_a_folder(tmp_path):
    report = prepare(gapped(tmp_path), tmp_path / "out")
    assert report.kept == 3 and report.gaps == 1
    assert "turns that begin from another image: 1" in report.describe()
    assert len(PreparedSessions(tmp_path / "out")) == 3
    with pytest.raises(Exception, match="use another --out"):
        prepare(gapped(tmp_path), tmp_path / "out", reading=reading(on_gap="keep"))


def test_a_missing_turn_is_a_gap_unless_the_images_meet(tmp_path):
    rows = turn_rows(1, turns=4)
    sessions, dropped = read(write_parquet(tmp_path / "a.parquet", rows[1:]))
    assert sessions["0"].images == tuple(map(picture, (1, 2, 3, 4))) and not dropped
    sessions, _ = read(write_parquet(tmp_path / "b.parquet", [rows[0], *rows[2:]]))
    assert list(sessions) == ["0", "0/from turn 3"]
    assert sessions["0/from turn 3"].images == tuple(map(picture, (2, 3, 4)))


def test_a_turn_without_a_source_needs_the_one_before(tmp_path):
    rows = [
        {"id": "a", "turn": 1, "source": "0", "target": "1", "text": "x"},
        {"id": "a", "turn": 3, "source": None, "target": "2", "text": "y"},
    ]
    for number in range(3):
        (tmp_path / str(number)).write_bytes(picture(number))
    sessions, (dropped,) = read(write_lines(tmp_path / "a.jsonl", rows))
    assert not sessions and dropped.reason == "missing image"
    assert "nothing leads to turn 3" in dropped.detail


def saved(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def test_recompressing_and_resizing_are_no_gap_and_a_small_edit_is():
    photograph = Image.fromarray(photographs.astronaut())
    png = saved(photograph, "PNG")
    for form, quality in (("JPEG", 75), ("JPEG", 30), ("WEBP", 40)):
        assert same_picture(png, saved(photograph, form, quality=quality))
    half = saved(photograph.resize((256, 256), Image.Resampling.LANCZOS), "PNG")
    assert same_picture(png, half) and same_picture(half, png)
    assert not same_picture(png, saved(photograph.crop((0, 0, 512, 480)), "PNG"))
    edited = np.array(photograph)
    edited[100:124, 300:324] = 255 - edited[100:124, 300:324]  # 0.2 % of it
    assert not same_picture(png, saved(Image.fromarray(edited), "JPEG", quality=90))
