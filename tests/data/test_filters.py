"""Sound sessions that are left out because somebody asked for it."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs

from anchoredit_jax.data.likeness import changed_share, near_duplicates
from anchoredit_jax.data.prepared import Filters, PreparedSessions, prepare
from anchoredit_jax.data.sessions import list_parts
from anchoredit_jax.errors import UserError
from launch import prepare_data
from tests.convert.test_umt5 import write_tokenizer

from .raw_files import write_folder
from .tables import picture

BASE = photographs.astronaut()[:256, :320]


def encoded(pixels, form="PNG", **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **options)
    return out.getvalue()


def patched(share):
    """The base image, of which about such a share is another."""
    pixels = BASE.copy()
    rows = round(share * len(pixels))
    pixels[:rows] = 255 - pixels[:rows]
    return pixels


def write(root, key, images, texts=None):
    texts = texts or [f"edit {n}" for n in range(1, len(images))]
    files = [(f"{key}.{n}.png", data) for n, data in enumerate(images)]
    document = json.dumps({"instructions": texts}).encode()
    write_folder(root / key, [*files, (f"{key}.json", document)])


def kept(out):
    sessions = PreparedSessions(out)
    there = np.flatnonzero(sessions.turns).tolist()
    return sorted(sessions[number].key for number in there)


def test_the_share_that_changes_is_measured_in_blocks():
    for share in (0.0, 0.25, 0.5, 1.0):
        measured = changed_share(BASE, patched(share))
        assert abs(measured - share) < 0.15 and (share > 0 or measured == 0)
    recompressed = encoded(BASE, "JPEG", quality=50)
    assert changed_share(BASE, np.asarray(Image.open(io.BytesIO(recompressed)))) < 0.01
    assert changed_share(BASE, BASE[:, :200]) == 1.0


def test_turns_that_change_nothing_or_everything(tmp_path):
    root = tmp_path / "raw"
    base = encoded(BASE)
    write(root, "some", [base, encoded(patched(0.3))])
    write(root, "nothing", [base, encoded(patched(0.3)), encoded(patched(0.3), "JPEG")])
    write(root, "all", [base, encoded(patched(1.0))])
    report = prepare(root, tmp_path / "out", filters=Filters(0.0, 0.9))
    assert kept(tmp_path / "out") == ["some"]
    told = {key: (reason, detail) for _, key, reason, detail in report.bad}
    assert told["nothing"][0] == "too little change" and "turn 2" in told["nothing"][1]
    assert told["all"][0] == "too much change"
    pictures = sorted(p.name for p in (tmp_path / "out" / "left_out").iterdir())
    assert pictures == ["too little change.png", "too much change.png"]
    with Image.open(tmp_path / "out" / "left_out" / pictures[0]) as image:
        assert image.width > 3 * 128
    assert prepare(root, tmp_path / "out", filters=Filters(0.0, 0.9)) == report
    with pytest.raises(UserError, match="begun with another filters"):
        prepare(root, tmp_path / "out")
    shutil.rmtree(root / "all")
    prepare(root, tmp_path / "out", filters=Filters(0.0, 0.9))
    assert [p.name for p in (tmp_path / "out" / "left_out").iterdir()] == pictures[:1]
    prepare(root, tmp_path / "few", filters=Filters(0.0, 0.9), max_bad=0)  # asked for


def test_near_duplicates_over_all_parts(tmp_path, monkeypatch):
    root = tmp_path / "raw"
    base, last = encoded(BASE), encoded(patched(0.3))
    small = np.asarray(Image.fromarray(BASE).resize((160, 128)))
    write(root, "a", [base, last])
    write(root, "b", [encoded(BASE, "JPEG", quality=40), encoded(patched(0.3), "JPEG")])
    write(root, "c", [encoded(small), encoded(patched(0.8))])
    write(root, "d", [picture(1), picture(2)])
    report = prepare(root, tmp_path / "s", filters=Filters(near="sessions"))
    assert kept(tmp_path / "s") == ["a", "c", "d"]
    assert report.dropped == {"near duplicate": 1} and report.kept == 3
    assert (tmp_path / "s" / "left_out" / "near duplicate.png").is_file()
    parts = "anchoredit_jax.data.sessions.folders.list_parts"
    monkeypatch.setattr(parts, lambda source, links: list_parts(source, 1, links))
    report = prepare(root, tmp_path / "i", filters=Filters(near="images"))
    assert kept(tmp_path / "i") == ["a", "d"] and len(report.bad) == 2
    assert "session number 0 has nearly the same source" in report.bad[0][3]


def test_near_duplicates_agree_with_a_plain_search():
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 2**63, (60, 1), np.uint64)
    flips = rng.integers(0, 64, (60, 4)).astype(np.uint64)
    copies = looks.copy()
    for count in range(4):  # 0 to 4 bits
        copies[count::5, 0] ^= np.bitwise_or.reduce(
            np.uint64(1) << flips[count::5, : count + 1], axis=1
        )
    looks = np.concatenate([looks, copies])
    tints = rng.integers(0, 2, (120, 1, 3)).astype(np.uint8)
    tints[100:] = 200
    wanted = []
    for i in range(120):
        near = [
            j
            for j in range(i)
            if int(looks[i, 0] ^ looks[j, 0]).bit_count() <= 3
            and abs(int(tints[i, 0, 0]) - int(tints[j, 0, 0])) <= 8
        ]
        wanted.append(near[0] if near else -1)
    assert near_duplicates(looks, tints).tolist() == wanted
    assert 10 < sum(place >= 0 for place in wanted) < 50


def test_sizes_and_texts(tmp_path, capsys):
    root = tmp_path / "raw"
    write(root, "small", [encoded(BASE[:100, :100])] * 2)
    write(root, "long", [encoded(BASE[:128, :300])] * 2)
    write(root, "wordy", [encoded(BASE)] * 2, ["red " * 40])
    write(root, "good", [encoded(BASE)] * 2, ["red"])
    folder = tmp_path / "model" / "tokenizer"
    folder.mkdir(parents=True)
    write_tokenizer(folder)
    filters = Filters(min_side=128, max_aspect=2, tokens=9, tokenizer=str(folder))
    report = prepare(root, tmp_path / "out", filters=filters)
    told = {key: reason for _, key, reason, _ in report.bad}
    assert told == {
        "small": "unwanted size",
        "long": "unwanted size",
        "wordy": "unfit text",
    }
    assert kept(tmp_path / "out") == ["good"]
    assert "instruction of over 8 tokens; not read: 'red" in report.describe()
    argv = ["--source", str(root), "--out", str(tmp_path / "o"), "--quiet"]
    argv += ["--min-side", "128", "--max-aspect", "2", "--min-change", "-1"]
    prepare_data.main(argv)
    assert "unwanted size: 2" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        prepare_data.main([*argv, "--long-texts", "drop"])
    assert "needs --config" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        {"near": "all"},
        {"min_change": 0.5, "max_change": 0.5},
        {"max_change": 2},
        {"max_aspect": 0.5},
        {"min_side": -1},
    ],
)
def test_filters_are_checked(wrong):
    with pytest.raises(UserError, match="given"):
        Filters(**wrong)
