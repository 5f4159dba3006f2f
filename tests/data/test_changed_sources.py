"""A source that changed after it was prepared: what changed is read again."""

import json
import os
import shutil

import pytest

from anchoredit_jax.data.feature_cache import FeatureCache, build_cache
from anchoredit_jax.data.feature_cache import describe_features as describe
from anchoredit_jax.data.prepared import PreparedSessions, prepare
from anchoredit_jax.errors import UserError

from .raw_files import PNG, encode, members, write_folder, write_tar
from .test_feature_cache import tools


def keys(folder):
    sessions = PreparedSessions(folder)
    return sorted(sessions[i].key for i in range(len(sessions)))


@pytest.fixture
def raw(tmp_path):
    """Two shards and a folder, whose second session is damaged."""
    root = tmp_path / "raw"
    root.mkdir()
    write_tar(root / "a.tar", members("a"))
    write_tar(root / "b.tar", members("b"))
    write_folder(root / "c", members("c"))
    write_folder(root / "d", [*members("d")[1:], ("d.0.png", PNG[:40])])
    return root


def times(folder):
    return {p.parent.name: p.stat().st_mtime_ns for p in folder.rglob("report.json")}


def test_what_is_mended_added_or_replaced_is_read_again(raw, tmp_path):
    out = tmp_path / "out"
    assert prepare(raw, out).dropped == {"damaged image": 1}
    first, before = PreparedSessions(out).fingerprint, times(out / "parts")
    write_folder(raw / "d", [("d.0.png", PNG)])  # mended
    assert prepare(raw, out).bad == [] and keys(out) == ["a", "b", "c", "d"]
    write_folder(raw / "e", members("e"))  # added
    prepare(raw, out)
    assert keys(out) == ["a", "b", "c", "d", "e"]
    write_tar(raw / "0.tar", members("0"))  # a part before all others
    prepare(raw, out)
    assert keys(out) == ["0", "a", "b", "c", "d", "e"]
    other = encode(form="PNG", compress_level=0)
    write_folder(raw / "c", [("c.1.png", other)])  # replaced
    (raw / "a.tar").unlink()  # removed
    prepare(raw, out)
    sessions = PreparedSessions(out)
    assert keys(out) == ["0", "b", "c", "d", "e"] and sessions.fingerprint != first
    assert next(s for s in sessions if s.key == "c").images[1] == other
    after = times(out / "parts")
    assert len(after) == 3  # parts of what is gone are gone
    kept = before.keys() & after.keys()
    assert len(kept) == 1 and all(before[name] == after[name] for name in kept)


def test_a_replaced_file_of_the_same_size_is_seen_by_its_time(raw, tmp_path):
    prepare(raw, tmp_path / "out")
    changed = PNG[:-1] + PNG[-1:]
    (raw / "c" / "c.0.png").write_bytes(changed)
    os.utime(raw / "c" / "c.0.png", ns=(1, 1))
    before = times(tmp_path / "out" / "parts")
    prepare(raw, tmp_path / "out")
    assert len(times(tmp_path / "out" / "parts").items() - before.items()) == 1


def test_mending_after_too_many_bad_records_helps(raw, tmp_path):
    with pytest.raises(UserError, match=r"more than --max-bad 0.*what changes is read"):
        prepare(raw, tmp_path / "out", max_bad=0)
    write_folder(raw / "d", [("d.0.png", PNG)])
    assert prepare(raw, tmp_path / "out", max_bad=0).kept == 4


def test_a_part_that_could_not_be_read_is_tried_again(raw, tmp_path):
    out = tmp_path / "out"
    shutil.rmtree(raw / "d")
    prepare(raw, out)
    for path in (out / "parts").glob("*/report.json"):
        report = json.loads(path.read_text())
        if report["origin"].endswith("raw"):
            from anchoredit_jax.data.seals import sealed

            del report["seal"]
            report["bad"] = [["raw", "x", "unreadable", "no permission"]]
            path.write_text(json.dumps(sealed(report)))
    assert prepare(raw, out).bad == []


def test_hidden_files_change_nothing(raw, tmp_path):
    prepare(raw, tmp_path / "out")
    before = times(tmp_path / "out" / "parts")
    write_folder(raw / "c", [(".DS_Store", b"x")])
    write_folder(raw, [("Thumbs.db", b"x")])
    prepare(raw, tmp_path / "out")
    after = times(tmp_path / "out" / "parts")
    assert after == before


def test_a_cache_of_data_that_changed_is_refused_by_name(raw, tmp_path):
    out = tmp_path / "out"
    prepare(raw, out)
    made = tools(out)
    cache = build_cache(tmp_path / "features", *made)
    (raw / "a.tar").unlink()
    prepare(raw, out)
    changed = tools(out)
    with pytest.raises(UserError, match="with another dataset.*make it again"):
        FeatureCache(cache, describe(*changed))
    with pytest.raises(UserError, match="with another dataset.*make it again"):
        build_cache(cache, *changed)


def test_the_claim_of_a_former_version_is_taken(raw, tmp_path):
    prepare(raw, tmp_path / "out")
    path = tmp_path / "out" / "source.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "parts": 7}))
    assert prepare(raw, tmp_path / "out").kept == 3
