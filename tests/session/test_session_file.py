"""Sessions on disk: saving loses nothing, wrong files are refused."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.session import EditSession
from tests.session.editors import (
    PROMPTS,
    SOURCE,
    assert_equal_turns,
    edited,
    make_editor,
)


def test_a_saved_session_reloads_equal_in_every_bit(params, tmp_path):
    sampler = SamplerConfig(steps=2, guidance=1.5)
    session = edited(make_editor(params, sampler=sampler), PROMPTS[:4], seed=3)
    session.edit("make it red", seed=9)
    path = tmp_path / "folder" / "a.session"
    session.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["a.session"]
    # Another editor of the same weights: nothing compiled, other settings.
    loaded = EditSession.load(path, make_editor(params))
    assert_equal_turns(session.history, loaded.history)
    assert loaded.crop == session.crop and loaded.seed == 3
    assert [turn.seed for turn in loaded.history] == [None, 3, 3, 3, 3, 9]
    assert np.array_equal(session.edit("go on"), loaded.edit("go on"))


def test_saving_keeps_the_history_up_to_the_current_turn(editor, tmp_path):
    session = edited(editor)
    session.undo(2)
    session.save(tmp_path / "a")
    assert len(EditSession.load(tmp_path / "a", editor).history) == 5


def test_a_session_without_turns_can_be_saved(editor, tmp_path):
    editor.start(SOURCE, seed=4).save(tmp_path / "a")
    loaded = EditSession.load(tmp_path / "a", editor)
    loaded.edit(PROMPTS[0])
    expected = edited(editor, PROMPTS[:1], seed=4)
    assert_equal_turns(loaded.history, expected.history)


def test_loading_reuses_the_compiled_programs_of_an_equal_editor(editor, tmp_path):
    editor.start(SOURCE).save(tmp_path / "a")
    assert EditSession.load(tmp_path / "a", editor).editor is editor


def test_wrong_session_files_are_refused(editor, params, tmp_path):
    with pytest.raises(UserError, match="a' does not exist"):
        EditSession.load(tmp_path / "a", editor)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="text' is not a session file"):
        EditSession.load(tmp_path / "text", editor)
    save_file({"x": np.zeros(1)}, tmp_path / "weights")
    with pytest.raises(UserError, match="weights' is not a session file"):
        EditSession.load(tmp_path / "weights", editor)
    session = edited(editor, PROMPTS[:1])
    session.save(tmp_path / "good")
    record = {key: v for key, v in session.record().items() if key != "crop"}
    metadata = {"session": json.dumps(record)}
    save_file({"latents": np.zeros(1)}, tmp_path / "bad", metadata)
    with pytest.raises(
        UserError,
        match="bad' .*a damaged one.*crop' is missing",
    ):
        EditSession.load(tmp_path / "bad", editor)
    other = make_editor(params, lineage=Lineage("consistency", 8, "f" * 16, {}))
    with pytest.raises(UserError, match="made with weights 0123456789abcdef.*f{16}"):
        EditSession.load(tmp_path / "good", other)


def test_a_file_that_cannot_be_written_is_a_user_error(editor, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        editor.start(SOURCE).save(tmp_path / "file" / "a")


def test_weights_that_moved_away_are_named(params, tmp_path):
    editor = make_editor(params, checkpoint=str(tmp_path / "gone"))
    editor.start(SOURCE).save(tmp_path / "a")
    with pytest.raises(UserError, match="weights of session .*pass an editor.*gone"):
        EditSession.load(tmp_path / "a")


def test_the_record_holds_all_that_is_needed_to_repeat(editor):
    session = edited(editor, PROMPTS[:2], seed=3)
    record = session.record()
    assert json.loads(json.dumps(record)) == record
    assert record["turns"] == [
        {"instruction": "make it blue", "seed": 3},
        {"instruction": "add a hat", "seed": 3},
    ]
    assert record["checkpoint"]["digest"] == "0123456789abcdef"
    assert record["memory"] == dataclasses.asdict(editor.memory)
    assert record["sampler"]["steps"] == 2
    assert record["crop"]["box"] == [0, 2, 16, 18]
    assert record["version"] and record["seed"] == 3
