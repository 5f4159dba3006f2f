"""Rows 24 and 53 of the user reports, through certificates."""

import functools

import grain
import pytest

from anchoredit_jax.config import load_config
from anchoredit_jax.data.batches import collate
from anchoredit_jax.data.sprites import SpriteSource
from anchoredit_jax.encoders import make_codec, make_text_encoder
from anchoredit_jax.reproducibility import read
from anchoredit_jax.reproducibility.certificate import from_bits
from anchoredit_jax.reproducibility.rerun import run_certified
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.training import loop
from launch import prepare_data
from tests.data.corpus import make_corpus
from tests.reproducibility.certified import certify
from tests.training.fake_stages import with_step

SMALL = "configs/reproduce.py:steps=2,data.turns=5,data.batch={},model.num_layers=1"


class SomeRows:
    """Rows of a batch of two sessions, of 2 and of 5 turns, at every step."""

    def __init__(self, run, rows):
        records = SpriteSource(turns=5, seed=2, size=run.data.size).records([0, 1])
        records[0] = {
            **{key: records[0][key] for key in ("id", "images", "instructions")},
            "images": records[0]["images"][:3],
            "instructions": records[0]["instructions"][:2],
        }
        text = make_text_encoder(run.text)
        batch = collate(records, make_codec(run.codec), text)
        self._batch = {name: values[rows] for name, values in batch.items()}

    def __len__(self):
        return 100

    def __getitem__(self, step):
        return self._batch


def test_a_mixed_batch_has_the_mean_loss_of_its_parts(tmp_path, monkeypatch):
    """Row 24: sessions of 2 and 5 turns share a batch and one compiled step."""
    made = []

    @functools.cache
    def make_train_step(run, make=STAGES["single_turn"].make_train_step):
        made.append(make(run))
        return made[-1]

    stage = with_step(STAGES["single_turn"], make_train_step)
    monkeypatch.setitem(STAGES, "single_turn", stage)
    losses, draws = {}, {}
    for name, rows in (("both", [0, 1]), ("short", [0]), ("long", [1])):
        monkeypatch.setattr(
            loop,
            "make_dataset",
            lambda run, *_, rows=rows: grain.MapDataset.source(SomeRows(run, rows)),
        )
        run = load_config(SMALL.format(len(rows)))
        run_certified(run, tmp_path / name, quiet=True)
        first = read(tmp_path / name / "single_turn").rows[0]
        losses[name], draws[name] = from_bits(first.metrics["loss"]), first.draws
    mean = (losses["short"] + losses["long"]) / 2
    assert losses["both"] == pytest.approx(mean, rel=1e-5)
    assert losses["short"] != pytest.approx(losses["long"], rel=1e-2)
    assert len(set(draws.values())) == 3
    assert [step.compilations for step in made] == [1, 1]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    make_corpus(root / "raw", good=12)
    places = ["--source", root / "raw", "--out", root / "out", "--languages", "en,zh"]
    prepare_data.main([*map(str, places), "--quiet"])
    return root / "out"


@pytest.mark.usefixtures("fake_stages")
@pytest.mark.parametrize(
    "workers",
    [
        0,
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(4, marks=pytest.mark.slow),
    ],
)
def test_batches_after_a_resume_are_those_of_a_straight_run(
    prepared, tmp_path, workers
):
    """Row 53: records, crops and languages of every step, whoever makes them."""
    data = f"data.kind=sessions,data.sessions.path={prepared},data.size=24,data.turns=2"
    straight = certify(tmp_path / "a", data)
    assert len({row.data for row in straight.rows}) == 10
    data += f",data.workers={workers}"
    certify(tmp_path / "b", f"{data},loop.steps=6")
    resumed = certify(tmp_path / "b", data)
    assert resumed.rows == straight.rows
    assert resumed.dataset == straight.dataset
    assert resumed.config_digest == straight.config_digest
