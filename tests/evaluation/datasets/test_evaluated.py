"""A test set in MagicBrush's layout, evaluated from its files to the tables."""

import json

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.evaluation import Settings, evaluate, parse_policies
from anchoredit_jax.evaluation.summary import LAST
from tests.evaluation.datasets.test_magicbrush import write
from tests.evaluation.test_report import make_contestant


class Colours:
    """The mean colour of an image; a text is white."""

    name = "clip"

    def __call__(self, images):
        return images.mean((1, 2)).astype(np.float32)

    def texts(self, texts):
        return np.ones((len(texts), 3), np.float32)


@pytest.fixture(scope="module")
def written(tmp_path_factory, tiny_editor):
    root = write(tmp_path_factory.mktemp("set"))
    settings = Settings(
        parse_policies("sink1_window3,full"),
        parts=("table", "single_turn"),
        dataset=str(root),
        sessions=None,
        turns=None,
        batch=2,
    )
    out = tmp_path_factory.mktemp("report")
    toy = make_contestant(tiny_editor, "toy")
    return evaluate([toy], settings, out, [Colours()]), out


def test_both_settings_are_reported(written):
    report, _ = written
    sessions = report["table"]["toy"]["sink1_window3"]
    singles = report["single_turn"]["toy"]["sink1_window3"]
    assert (sessions["sessions"], sessions["turns"]) == (2, 3)
    assert (singles["sessions"], singles["turns"]) == (4, 1)
    for name in ("l1", "l2", "clip_target", "clip_caption", "clip_oracle"):
        last, single = sessions[LAST][name], singles["per_turn"][name][0]
        assert (last["count"], single["count"]) == (2, 4)
        assert 0 < last["mean"] < 1 and 0 < single["mean"] < 1
    # What the right images reach does not depend on the model.
    assert singles["per_turn"]["clip_oracle"][0]["low"] > 0.9


def test_single_turns_are_edited_once_whatever_the_memory(written):
    report, out = written
    frames = out / "frames" / "toy" / "single_turn"
    assert (frames / "sink1_window3" / "139_inde_3.png").exists()
    assert report["identical"]["single_turn"] == {"full": "sink1_window3"}
    assert not (frames / "full").exists()


def test_the_first_turn_is_the_same_in_both_settings(written):
    """The same source and instruction, and the noise of the first session."""
    _, out = written
    frames = out / "frames" / "toy"
    with (
        Image.open(frames / "table" / "sink1_window3" / "30.png") as multi,
        Image.open(frames / "single_turn" / "sink1_window3" / "30_1.png") as single,
    ):
        # Up to rounding: the two are in batches of other turns.
        difference = np.abs(np.array(multi, int) - np.array(single, int))
        assert difference.max() <= 1


def test_the_page_names_the_metrics(written):
    report, out = written
    page = (out / "report.html").read_text()
    for name in ("L1 to the target", "CLIP-I", "CLIP-T of the target", "DINO"):
        assert name in page
    assert "against the targets, last turn" in page
    assert "4 single turns" in page
    assert json.loads((out / "report.json").read_text())["single_turn"]["toy"]
