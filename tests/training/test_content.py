"""What a run reads has digests, by which hosts and later starts know that it is one."""

import dataclasses

import pytest

from anchoredit_jax.data.config import DataConfig, SessionsConfig
from anchoredit_jax.data.feature_cache import ABOUT
from anchoredit_jax.models.text import TextConfig, Umt5Settings
from anchoredit_jax.models.tokenizer import TOKENIZER_FILES
from anchoredit_jax.training.content import describe_content, describe_on_host
from anchoredit_jax.training.inputs import make_codec_and_text
from tests.training.fake_stages import make_run

pytestmark = pytest.mark.usefixtures("fake_stages")


def test_another_tokenizer_is_other_content(tmp_path):
    run = make_run()
    codec, text = make_codec_and_text(run)
    umt5 = Umt5Settings(folder=str(tmp_path), size="umt5_tiny")
    dim = umt5.network.dim
    run = dataclasses.replace(run, text=TextConfig("umt5", dim=dim, umt5=umt5))
    told = []
    for words in ("one", "two", "one"):
        (tmp_path / TOKENIZER_FILES[0]).write_text(words)
        told.append(describe_content(run, codec, text))
    assert told[0] == told[2] != told[1]
    assert {name for name in told[0] if told[0][name] != told[1][name]} == {"tokenizer"}


def test_hosts_compare_the_dtype_of_features_that_a_later_start_may_change(tmp_path):
    sessions = SessionsConfig(path="P", cache=str(tmp_path))
    data = DataConfig(kind="sessions", turns=2, sessions=sessions)
    run = dataclasses.replace(make_run(), data=data)
    assert describe_on_host(run, {"codec": "c"}) == {"codec": "c"}  # nothing is there
    told = []
    for dtype in ("float32", "bfloat16", "float32"):
        (tmp_path / ABOUT).write_text(f'{{"dtype": "{dtype}"}}')
        told.append(describe_on_host(run, {"codec": "c"}))
    assert told[0] == told[2] != told[1]
    assert told[0]["codec"] == told[1]["codec"] == "c"
