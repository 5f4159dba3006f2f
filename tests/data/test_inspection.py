"""What is told of a source before anything is made of it."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.data.sessions import inspect
from anchoredit_jax.data.strips import SIDE
from anchoredit_jax.errors import UserError
from launch import prepare_data

from .raw_files import members, write_folder
from .tables import picture, reading, struct, turn_rows, write_parquet


def test_everything_is_counted(tmp_path):
    rows = turn_rows(20)
    rows += [{**row, "img_id": "again"} for row in rows[:3]]
    rows[7] = {**rows[7], "target_img": None}  # of session 2
    rows[11] = {**rows[11], "source_img": struct(picture(999))}  # of session 3
    for row in rows[-3:]:
        row["instruction"] = "\u00e9 \u6539"
    path = write_parquet(tmp_path / "a.parquet", rows)
    found, sheet = inspect(path)
    assert found.sessions == 21 and found.turns == {1: 1, 2: 1, 3: 19}
    assert found.sizes == {"32 x 48": 21} and found.languages == {"text": 21}
    assert found.repeated_sessions == 1 and found.repeated_images == 4
    assert found.dropped == {"missing image": 1} and found.gaps == 1
    told = found.describe()
    assert "2: the target of turn 2 is null" in told and "parquet" in told
    image = np.asarray(Image.open(io.BytesIO(sheet)))
    assert image.shape[0] > 12 * SIDE and (image[30, :40] < 250).any()
    assert inspect(path)[1] == sheet


def test_all_languages_are_counted(tmp_path):
    texts = [{"en": "a", "zh": "b"}, {"en": "c", "de": "d"}]
    document = json.dumps({"instructions": texts})
    write_folder(tmp_path / "a", members("a", document=document))
    write_folder(tmp_path / "b", members("b"))
    assert inspect(tmp_path)[0].languages == {"en": 2}


def test_the_command_writes_the_sheet_alone(tmp_path, capsys):
    path = write_parquet(tmp_path / "in" / "a.parquet", turn_rows(2))
    sheet = tmp_path / "out.png"
    argv = ["--source", str(path), "--inspect", str(sheet), "--quiet"]
    prepare_data.main(argv)
    assert "sound sessions: 2" in capsys.readouterr().out
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in", "out.png"]
    drawn = sheet.read_bytes()
    with pytest.raises(SystemExit):
        prepare_data.main(argv)
    assert "is there already" in capsys.readouterr().err and sheet.read_bytes() == drawn


def test_a_source_without_a_sound_session(tmp_path):
    rows = [{**row, "target_img": None} for row in turn_rows(1)]
    path = write_parquet(tmp_path / "a.parquet", rows, group=2)
    with pytest.raises(UserError, match="not one sound session"):
        inspect(path, reading(on_gap="keep"))
