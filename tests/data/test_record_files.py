"""Record files are written as the records come, in files of a bounded size."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from anchoredit_jax.data import record_files
from anchoredit_jax.data.record_files import count_records, open_records, write_records

FEATURES = {"name": tfds.features.Text(), "value": np.int64}


def write(folder, records):
    names, notes = ("set", "one"), {"1.0.0": "First."}
    return write_records(folder, names, notes, FEATURES, records, "A few numbers.")


def test_many_records_lie_in_several_files_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(record_files, "SHARD", 1000)
    made = ({"name": f"{n}" * 9, "value": n} for n in range(100))
    folder = write(tmp_path, made)
    files = sorted(path.name for path in folder.glob("*array_record*"))
    assert len(files) > 3 and files[0].endswith(f"-00000-of-{len(files):05d}")
    assert not list(folder.glob("*unnamed*"))
    builder = open_records(folder)
    count_records(builder)
    stored = builder.as_data_source(split="train")
    assert [stored[n]["value"] for n in range(100)] == list(range(100))
    assert write(tmp_path, iter(())) == folder  # it is there


def test_records_are_written_when_they_come(tmp_path, monkeypatch):
    monkeypatch.setattr(record_files, "SHARD", 50)
    seen = []

    def records():
        for n in range(9):
            seen.append(len(list(tmp_path.rglob("*.unnamed"))))
            yield {"name": "x" * 60, "value": n}

    write(tmp_path, records())
    assert seen == list(range(9))


def test_what_stops_in_between_leaves_no_dataset(tmp_path):
    def records():
        yield {"name": "a", "value": 1}
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write(tmp_path, records())
    assert not list(tmp_path.rglob("dataset_info.json"))
