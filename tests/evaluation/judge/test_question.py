"""What the judge is shown, and what makes two questions the same."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge import JudgeConfig
from anchoredit_jax.evaluation.judge.question import session_questions

CONFIG = JudgeConfig("m")
FRAMES = np.random.default_rng(0).integers(0, 256, (4, 20, 40, 3), np.uint8)
TEXTS = ["add a hat", "", 'write "hi" {here}']


def questions(frames=FRAMES, texts=TEXTS):
    return list(session_questions("s", frames, texts))


def pictures(question, side):
    urls = [p["image_url"]["url"] for p in question.content(side) if "image_url" in p]
    head = "data:image/png;base64,"
    assert all(url.startswith(head) for url in urls)
    data = [base64.b64decode(url.removeprefix(head)) for url in urls]
    return [np.asarray(Image.open(io.BytesIO(item))) for item in data]


def test_a_turn_shows_source_before_and_after_and_turn_one_no_image_twice():
    first, second, third = (pictures(question, 40) for question in questions())
    np.testing.assert_array_equal(first, FRAMES[[0, 1]])
    np.testing.assert_array_equal(second, FRAMES[[0, 1, 2]])
    np.testing.assert_array_equal(third, FRAMES[[0, 2, 3]])


def test_large_images_are_made_smaller_at_their_aspect():
    assert [image.shape for image in pictures(questions()[0], 10)] == [(5, 10, 3)] * 2


def test_instructions_stand_in_the_task_with_those_before():
    first, second, third = (question.task for question in questions())
    assert 'instruction: "add a hat"' in first and "before it" not in first
    assert "instruction: none; the image must stay" in second
    assert '1. "add a hat"\n2. none;' in third
    assert r'instruction: "write \"hi\" {here}"' in third


def test_the_key_is_of_words_pixels_model_and_sampling():
    question = questions()[1]
    key = question.key(CONFIG)
    other = FRAMES.copy()
    other[0, 0, 0, 0] ^= 1  # the source counts at turn 2
    replace = dataclasses.replace
    different = [
        questions(other)[1].key(CONFIG),
        questions(texts=["add a cap", "", "x"])[1].key(CONFIG),
        questions(FRAMES.reshape(4, 40, 20, 3))[1].key(CONFIG),
        *(
            question.key(replace(CONFIG, **change))
            for change in (
                {"model": "n"},
                {"seed": 1},
                {"temperature": None},
                {"image_side": 512},
            )
        ),
    ]
    assert len({key, *different}) == len(different) + 1


def test_the_key_is_not_of_names_addresses_or_patience():
    change = dataclasses.replace(
        CONFIG, base_url="http://other/v1", timeout=1.0, retries=0, answers=9
    )
    (other, *_) = session_questions("other", FRAMES, TEXTS)
    assert other.key(change) == questions()[0].key(CONFIG)


@pytest.mark.parametrize(
    "frames",
    [FRAMES[:3], FRAMES.astype(np.float32), FRAMES[..., :1], FRAMES[0]],
)
def test_frames_of_another_form_are_refused(frames):
    with pytest.raises(UserError, match=r"'s' has 3 .* uint8 \[4, H, W, 3\].*given"):
        questions(frames)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"model": ""}, "model"),
        ({"base_url": "localhost:8000"}, "http://"),
        ({"parallel": 0}, "judge-parallel.* must be at least 1; given: 0"),
        ({"answers": 0}, "answers"),
        ({"retries": -1}, "retries"),
        ({"timeout": float("nan")}, "timeout"),
        ({"temperature": -0.1}, "temperature"),
    ],
)
def test_a_config_out_of_range_is_refused(change, said):
    with pytest.raises(UserError, match=said):
        JudgeConfig(**{"model": "m", **change})
