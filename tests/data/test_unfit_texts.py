"""Instructions that an encoder refuses are found before any work is done with them."""

import dataclasses
import json

import pytest
from PIL import Image

from anchoredit_jax.data.feature_cache import build_cache
from anchoredit_jax.data.prepared import Filters, PreparedSessions, prepare
from anchoredit_jax.data.session_batches import group_prepared, open_session_steps
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import PatchCodec
from anchoredit_jax.models.text import LONGEST, NgramTextEncoder
from tests.data.raw_files import encode, members, write_folder
from tests.data.test_feature_cache import data

CODEC, TEXT = PatchCodec(stride=2), NgramTextEncoder(length=8, dim=16)
LONG = " ".join(["word"] * 9)


@pytest.fixture
def raw(tmp_path):
    """Six sessions of two turns; of "b" a text is too long, of "c" one of two
    languages, of "d" one is no word, of "e" one is longer than any encoder reads."""
    texts = {key: [{"en": "make it blue", "zh": "x"}] * 2 for key in "abcdef"}
    texts["b"] = [{"en": "make it blue"}, {"en": LONG}]
    texts["c"] = [{"en": "make it blue", "zh": LONG}] * 2
    texts["d"] = [{"en": "!?"}] * 2
    texts["e"] = [{"en": "x" * (LONGEST + 1)}] * 2
    for key, turns in texts.items():
        document = json.dumps({"instructions": turns})
        files = members(key, 3, document, data=encode(Image.new("RGB", (24, 24))))
        write_folder(tmp_path / "raw" / key, files)
    return tmp_path / "raw"


def test_what_no_encoder_reads_is_dropped_by_name(raw, tmp_path):
    report = prepare(raw, tmp_path / "out", languages=("en", "zh"))
    assert [(key, reason) for _, key, reason, _ in report.bad] == [("e", "no language")]
    assert f"of at most {LONGEST} characters" in report.describe()


def test_a_configuration_decides_while_preparing(raw, tmp_path):
    out = tmp_path / "out"
    report = prepare(
        raw, out, languages=("en", "zh"), filters=Filters(words=TEXT.length)
    )
    told = {key: (reason, detail) for _, key, reason, detail in report.bad}
    assert set(told) == {"b", "d", "e"} and told["b"][0] == "unfit text"
    assert "9 words: this model reads at most 8" in told["b"][1]
    assert any("c: left out: zh: " in note for note in report.notes)
    sessions = PreparedSessions(out)
    kept = {sessions[i].key: list(sessions[i].instructions) for i in range(3)}
    assert kept["c"] == ["en"] and set(kept) == {"a", "c", "f"}
    config = dataclasses.replace(data(out), batch=1)
    open_session_steps(config, CODEC, TEXT, patch=2)[0]
    with pytest.raises(UserError, match="begun with another words"):
        prepare(raw, out, languages=("en", "zh"), filters=Filters(words=4))


def test_training_and_caching_refuse_before_they_begin(raw, tmp_path):
    out = tmp_path / "out"
    prepare(raw, out, languages=("en", "zh"))
    config = data(out)
    with pytest.raises(UserError) as caught:
        open_session_steps(config, CODEC, TEXT, patch=2)
    said = str(caught.value)
    assert "session 'b', turn 2, en: instruction of 9 words" in said
    assert "session 'c', turn 1, zh" in said and "session 'd'" in said
    assert "launch/prepare_data.py --config, or name them in data.sessions" in said
    assert "\n" not in said
    sessions = PreparedSessions(out)
    groups = group_prepared(sessions, config, CODEC.stride, 2)
    with pytest.raises(UserError, match="session 'b', turn 2"):
        build_cache(tmp_path / "cache", sessions, groups, CODEC, TEXT)
    assert not (tmp_path / "cache").exists()
    excluded = dataclasses.replace(config.sessions, exclude=("b", "c", "d"))
    open_session_steps(
        dataclasses.replace(config, batch=1, sessions=excluded), CODEC, TEXT, patch=2
    )
