"""From a mixed corpus to batches: every good session once, every bad one by name."""

import json
import multiprocessing
import resource
import shutil
import threading
import time

import grain
import numpy as np
import pytest

from anchoredit_jax.data.batches import (
    DataConfig,
    iterate_batches,
    open_steps,
)
from anchoredit_jax.data.prepared import PreparedSessions, prepare
from anchoredit_jax.data.session_batches import ALL_ROWS, Host
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import PatchCodec
from anchoredit_jax.models.text import NgramTextEncoder
from anchoredit_jax.strict import build_dataclass

from .corpus import BAD, make_corpus, name

CODEC, TEXT = PatchCodec(stride=2), NgramTextEncoder(length=8, dim=16)
LANGUAGES = ("en", "zh")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """(prepared folder, turns of the good ones, reasons of the bad ones, report)."""
    root = tmp_path_factory.mktemp("corpus")
    turns, reasons = make_corpus(root / "raw")
    start = time.perf_counter()
    report = prepare(root / "raw", root / "prepared", languages=LANGUAGES)
    rate = report.kept / (time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"prepared {rate:.0f} sessions a second, peak memory {peak:.0f} MiB")
    return root / "prepared", turns, reasons, report


def data_config(folder, layout="chain", **changes):
    settings = {
        "path": str(folder), "layout": layout, **changes.pop("sessions", {}),
    }  # fmt: skip
    fields = dict(kind="sessions", size=24, turns=8, batch=4, seed=3, null_fraction=0)
    return build_dataclass(
        DataConfig, {**fields, **changes, "sessions": settings}, where="data"
    )


def batches_of(folder, host=ALL_ROWS, **changes):
    config = data_config(folder, **{"skip_probability": 0, **changes})
    return open_steps(config, CODEC, TEXT, patch=2, host=host)


def test_the_report_names_every_bad_session(corpus):
    folder, turns, reasons, report = corpus
    assert report.kept == len(turns) == 200
    assert {key: reason for _, key, reason, _ in report.bad} == reasons
    assert sum(report.dropped.values()) == len(BAD)
    assert report.turns == {n: 25 for n in range(1, 9)}
    # 0: en, 1: zh, 2: both, 3: of no named language
    assert report.languages == {"en": 100, "zh": 100, "text": 50}
    assert report.sizes["28 x 28"] > 50 and len(report.sizes) == 3
    said = report.describe()
    assert "bad gap: missing image" in said and "sessions kept: 200" in said
    stored = json.loads((folder / "report.json").read_text())
    assert stored["kept"] == 200 and len(stored["bad"]) == len(BAD)


def test_sessions_are_read_as_they_were(corpus):
    folder, turns, _, _ = corpus
    sessions = PreparedSessions(folder)
    assert len(sessions) == 200
    found = {sessions[i].key: sessions[i] for i in range(200)}
    assert {key: session.turns for key, session in found.items()} == turns
    assert found[name(2)].instructions["zh"][1].endswith("2 1")
    assert set(found[name(3)].instructions) == {"text"}
    with pytest.raises(IndexError):
        sessions[200]


def test_every_session_once_an_epoch(corpus):
    folder, turns, _, _ = corpus
    dataset, sessions = batches_of(folder), PreparedSessions(folder)
    plan = dataset.plan
    seen, start = [], time.perf_counter()
    for step in range(plan.steps_per_epoch):
        batch = dataset[step]
        valid = batch["frame_valid"]
        real = valid.any(1)
        shapes = {key: value.shape for key, value in batch.items()}
        frames, height, width = shapes["latents"][1:4]
        assert height * width * 4 <= 24 * 24 and height % 2 == width % 2 == 0
        assert shapes["text"][1] == frames - 1
        for row in np.flatnonzero(real):
            index = int(batch["id"][row])
            seen.append(index)
            assert valid[row].sum() == frames == sessions[index].turns + 1
        assert not valid[~real].any()
    print(f"loaded {len(seen) / (time.perf_counter() - start):.0f} sessions a second")
    assert sorted(seen) == list(range(200))


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_the_batch_of_step_7_is_one_whoever_makes_it(corpus):
    folder, *_ = corpus
    dataset = batches_of(folder)
    wanted = dataset[7]

    def through(start, **options):
        config = data_config(folder, skip_probability=0)
        made = open_steps(config, CODEC, TEXT, patch=2)
        stream = iterate_batches(grain.MapDataset.source(made), start, **options)
        try:
            for step, batch in enumerate(stream, start):
                if step == 7:
                    return batch
        finally:
            stream.close()

    assert same(through(0), wanted)  # straight
    assert same(through(5), wanted)  # after a resume
    for threads in (0, 4):
        assert same(through(0, threads=threads), wanted)
    for count in (1, 2, 4):
        slices = [batches_of(folder, Host((i,), count))[7] for i in range(count)]
        joined = {key: np.concatenate([s[key] for s in slices]) for key in wanted}
        assert same(joined, wanted)
    assert not same(batches_of(folder, seed=4)[7], wanted)


@pytest.mark.parametrize("workers", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_make_the_same_batches(corpus, workers):
    folder, *_ = corpus
    dataset = batches_of(folder)
    stream = iterate_batches(grain.MapDataset.source(dataset), 6, workers=workers)
    try:
        for step in range(6, 9):
            assert same(next(stream), dataset[step]), step
    finally:
        stream.close()


def test_mixed_lengths_share_a_batch_and_are_masked(corpus):
    folder, *_ = corpus
    sessions = PreparedSessions(folder)
    dataset = batches_of(folder, sessions={"buckets": {"mix_turns": True}})
    batch = dataset[0]
    assert batch["latents"].shape[1] == 9
    lengths = [sessions[int(i)].turns + 1 for i in batch["id"]]
    assert batch["frame_valid"].sum(1).tolist() == lengths and len(set(lengths)) > 1
    for row, length in enumerate(lengths):
        assert not batch["text"][row, length - 1 :].any()
        last = batch["latents"][row, length - 1]
        assert (batch["latents"][row, length:] == last).all()


def test_each_epoch_chooses_languages_anew(corpus):
    folder, *_ = corpus
    sessions = PreparedSessions(folder)
    dataset = batches_of(folder)
    plan = dataset.plan
    both = {i for i in range(200) if len(sessions[i].instructions) == 2}
    chosen = {}
    for step in range(2 * plan.steps_per_epoch):
        batch = dataset[step]
        for row, index in enumerate(batch["id"].tolist()):
            if index in both and batch["frame_valid"][row].any():
                texts = sessions[index].instructions
                turns = sessions[index].turns
                matches = [
                    language
                    for language, prompts in texts.items()
                    if np.array_equal(batch["text"][row, :turns], TEXT.encode(prompts))
                ]
                assert len(matches) == 1  # never a mixture
                chosen.setdefault(index, []).append(matches[0])
    picks = [pick for pair in chosen.values() for pick in pair]
    assert 0.3 < np.mean([pick == "en" for pick in picks]) < 0.7
    assert any(len(set(pair)) == 2 for pair in chosen.values())


def test_preparation_goes_on_where_it_stopped(tmp_path):
    turns, _ = make_corpus(tmp_path / "raw", good=12)
    whole = prepare(tmp_path / "raw", tmp_path / "whole", languages=LANGUAGES)
    prepare(tmp_path / "raw", tmp_path / "out", languages=LANGUAGES)
    before = PreparedSessions(tmp_path / "out").fingerprint
    parts = sorted((tmp_path / "out" / "parts").iterdir())
    assert len(parts) == 3
    kept = (parts[0] / "report.json").stat().st_mtime_ns
    (parts[1] / "report.json").unlink()  # interrupted while it was written
    shutil.rmtree(parts[2])
    (tmp_path / "out" / "dataset.json").unlink()
    again = prepare(tmp_path / "raw", tmp_path / "out", languages=LANGUAGES)
    assert again == whole and again.kept == len(turns)
    assert (parts[0] / "report.json").stat().st_mtime_ns == kept
    assert PreparedSessions(tmp_path / "out").fingerprint == before


def test_several_processes_prepare_the_same(tmp_path):
    make_corpus(tmp_path / "raw", good=8)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, processes in zip(folders, (1, 2), strict=True):
        prepare(tmp_path / "raw", folder, languages=LANGUAGES, processes=processes)
    one, two = map(PreparedSessions, folders)
    assert one.fingerprint == two.fingerprint
    assert [one[i] for i in range(8)] == [two[i] for i in range(8)]


def test_a_process_that_was_killed_is_told_and_the_same_command_goes_on(tmp_path):
    make_corpus(tmp_path / "raw", good=4)

    def kill_one():
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        children[0].kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(UserError, match="one of --processes 2 was ended from outside"):
        prepare(tmp_path / "raw", tmp_path / "out", processes=2)
    killer.join()
    prepare(tmp_path / "raw", tmp_path / "out")
    prepare(tmp_path / "raw", tmp_path / "straight")
    straight = list(PreparedSessions(tmp_path / "straight"))
    assert len(straight) > 1 and list(PreparedSessions(tmp_path / "out")) == straight


def test_duplicates_of_other_parts_are_left_out(tmp_path):
    make_corpus(tmp_path / "raw", good=6)
    shutil.copy(tmp_path / "raw" / "shard-0.tar", tmp_path / "raw" / "shard-9.tar")
    report = prepare(tmp_path / "raw", tmp_path / "out", languages=LANGUAGES)
    assert report.kept == 6 and report.dropped["duplicate"] == 2
    assert batches_of(tmp_path / "out", batch=1).plan.steps_per_epoch == 6


def test_too_many_bad_records_stop_it(tmp_path):
    make_corpus(tmp_path / "raw", good=3)
    with pytest.raises(UserError, match="bad records are more than --max-bad 2; the l"):
        prepare(tmp_path / "raw", tmp_path / "out", languages=LANGUAGES, max_bad=2)
    report = prepare(tmp_path / "raw", tmp_path / "out", languages=LANGUAGES)
    assert report.kept == 3


@pytest.mark.parametrize("name", ["a[1]", "a*b", "a**b", "a?b", "a\\b"])
def test_prepared_sessions_are_read_wherever_they_were_copied_to(
    tmp_path, corpus, name
):
    folder, *_ = corpus
    copy = PreparedSessions(shutil.copytree(folder, tmp_path / name))
    assert copy[0] == PreparedSessions(folder)[0]
    with pytest.raises(UserError, match="sessions cannot be kept in .*: rename it"):
        prepare(tmp_path, tmp_path / "new" / name)
    assert not (tmp_path / "new").exists()


def test_wrong_folders_are_refused(tmp_path, corpus):
    folder, *_ = corpus
    make_corpus(tmp_path / "raw", good=2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="is not empty and was not made by"):
        prepare(tmp_path / "raw", tmp_path / "full")
    with pytest.raises(UserError, match="was begun with .* use another --out"):
        prepare(tmp_path / "raw", folder)
    with pytest.raises(UserError, match="no prepared sessions in"):
        PreparedSessions(tmp_path / "nowhere")
    with pytest.raises(UserError, match="not one session .* no language"):
        prepare(tmp_path / "raw", tmp_path / "none", languages=("fr",))
    with pytest.raises(UserError, match="does not split into 3 equal parts"):
        batches_of(folder, Host((0,), 3))
    with pytest.raises(UserError, match="multiples of 4"):
        batches_of(folder, size=26)
