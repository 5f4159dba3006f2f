"""Short names of memory policies and samplers."""

import pytest

from anchoredit_jax.diffusion.sampler_text import parse_sampler, sampler_title
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation import parse_policies, parse_policy, policy_title

DEFAULT = SamplerConfig(shift=3.0)


@pytest.mark.parametrize(
    ("text", "sink", "window", "title"),
    [
        ("full", 1, None, "full history"),
        ("sink1_window3", 1, 3, "sink 1 + window 3"),
        ("sink2_window0", 2, 0, "sink 2 + window 0"),
        ("window3", 0, 3, "window 3, no sink"),
    ],
)
def test_policies(text, sink, window, title):
    memory = parse_policy(text)
    assert (memory.sink, memory.window) == (sink, window)
    assert policy_title(text) == title


@pytest.mark.parametrize("text", ["", "sink1", "window", "window-1", "full3", "all"])
def test_unknown_policy(text):
    with pytest.raises(UserError, match="memory policy"):
        parse_policy(text)


def test_policy_lists_keep_order_and_refuse_repetition():
    assert list(parse_policies("window3, full")) == ["window3", "full"]
    with pytest.raises(UserError, match="twice"):
        parse_policies("full,full")
    with pytest.raises(UserError, match="no memory policy"):
        parse_policies(" , ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("few_step:4", SamplerConfig("few_step", 4, 3.0)),
        ("euler:20:guidance=1.5", SamplerConfig("euler", 20, 3.0, 1.5)),
        ("euler:8:shift=2:guidance=1", SamplerConfig("euler", 8, 2.0)),
        (
            "few_step:2:timesteps=1000/500",
            SamplerConfig("few_step", 2, 3.0, timesteps=(1000.0, 500.0)),
        ),
        (
            "euler:8:guidance=2:negative=a:b, shift=9",
            SamplerConfig("euler", 8, 3.0, 2.0, negative="a:b, shift=9"),
        ),
    ],
)
def test_samplers(text, expected):
    assert parse_sampler(text, DEFAULT) == expected


def test_a_stored_negative_text_is_for_samplers_with_guidance():
    stored = SamplerConfig("euler", 50, guidance=5.0, negative="blurry")
    assert parse_sampler("euler:8:guidance=2", stored).negative == "blurry"
    assert parse_sampler("few_step:4", stored).negative == ""


def test_sampler_title_reads_back():
    for text in (
        "few_step:4",
        "euler:20:guidance=1.5:shift=2",
        "few_step:2:timesteps=1000/500",
        "euler:8:guidance=2:negative=blurry: low quality",
    ):
        assert sampler_title(parse_sampler(text, DEFAULT), DEFAULT) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ddim:4", "known kinds"),
        ("few_step", "number of steps"),
        ("few_step:0", "number of steps"),
        ("few_step:4.5", "number of steps"),
        ("euler:4:guidence=2", "known options"),
        ("euler:4:guidance", "known options"),
        ("euler:4:guidance=high", "not a number"),
        ("euler:4:guidance=nan", "finite"),
        ("euler:4:guidance=1:guidance=2", "twice"),
        ("few_step:3:timesteps=1000/500", "timesteps"),
        ("few_step:4:negative=blurry", "guidance is 1"),
    ],
)
def test_wrong_samplers(text, message):
    with pytest.raises(UserError, match=message):
        parse_sampler(text, DEFAULT)
