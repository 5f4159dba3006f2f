"""Prepared data and feature caches that were damaged: right data, or one line."""

import json
import random
import shutil

import numpy as np
import pytest

from anchoredit_jax.data.feature_cache import FeatureCache, build_cache
from anchoredit_jax.data.feature_cache import describe_features as describe
from anchoredit_jax.data.prepared import PreparedSessions, prepare
from anchoredit_jax.data.sprites.records import build_sprites, open_sprites
from anchoredit_jax.data.sprites.source import SpriteSource
from anchoredit_jax.errors import UserError

from .raw_files import encode, members, write_folder, write_tar
from .test_feature_cache import open_steps, tools

CASES = 200


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(prepared folder, feature cache)."""
    root = tmp_path_factory.mktemp("damaged")
    (root / "raw").mkdir()
    for name in ("a", "b"):
        write_tar(root / "raw" / f"{name}.tar", members(name))
    for name in ("c", "d"):
        data = encode(form="PNG", compress_level=0)
        write_folder(root / "raw" / name, members(name, data=data))
    prepare(root / "raw", root / "out")
    return root / "out", build_cache(root / "cache", *tools(root / "out"))


def damage(path, rng):
    """Damage a file, or remove it."""
    data = bytearray(path.read_bytes())
    kind = rng.choice(("cut", "flip", "flip", "garbage", "longer", "remove", "empty"))
    if kind == "cut":
        data = data[: rng.randrange(len(data))]
    elif kind == "flip":
        for _ in range(rng.choice((1, 1, 5))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "garbage":
        data = bytearray(rng.randbytes(len(data)))
    elif kind == "longer":
        data += rng.randbytes(rng.randrange(1, 100))
    path.unlink()
    if kind != "remove":
        path.write_bytes(b"" if kind == "empty" else data)
    return kind


def fuzz(folder, read, seed):
    """How many damages were refused; all others gave the right data."""
    rng, wanted, refused = random.Random(seed), read(), 0
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for case in range(CASES):
        path = rng.choice(paths)
        whole = path.read_bytes()
        kind = damage(path, rng)
        try:
            assert read() == wanted, (case, kind, path)
        except UserError as error:
            assert "\n" not in str(error) and str(folder) in str(error), error
            refused += 1
        path.write_bytes(whole)
    assert read() == wanted
    return refused


def test_damaged_prepared_data_is_right_or_refused(made):
    folder, _ = made

    def read():
        sessions = PreparedSessions(folder)
        columns = sessions.turns, sessions.height, sessions.width
        return list(sessions), [column.tolist() for column in columns]

    assert fuzz(folder, read, 1) > CASES // 2


def test_a_damaged_feature_cache_is_right_or_refused(made):
    folder, cache = made
    wanted = describe(*tools(folder))

    def read():
        features = FeatureCache(cache, wanted)
        found = [features[index] for index in range(4)]
        return [features.null_text.tolist()] + [
            [f.languages, f.latents(range(3)).tolist(), f.text("en", (0, 1)).tolist()]
            for f in found
        ]

    assert fuzz(cache, read, 2) > CASES // 2


def former(folder, place):
    """The same data as a former version wrote it."""
    shutil.copytree(folder, place)
    path = place / "dataset.json"
    about = json.loads(path.read_text()) | {"format": "anchoredit_jax sessions/1"}
    for name in ("seal", "files", "columns"):
        del about[name]
    path.write_text(json.dumps(about))
    (place / "checks.npy").unlink()
    return place


def test_data_of_a_former_version_is_read_and_its_damages_are_told(made, tmp_path):
    folder = former(made[0], tmp_path / "former")
    assert list(PreparedSessions(folder)) == list(PreparedSessions(made[0]))
    for name in ("*array_record*", "features.json", "dataset_info.json"):
        path = next((folder / "parts").rglob(name))
        whole = path.read_bytes()
        path.write_bytes(b"garbage")
        with pytest.raises(UserError, match="session 0 of .* is damaged"):
            list(PreparedSessions(folder))
        path.unlink()
        if name != "features.json":
            with pytest.raises(UserError, match="has no records"):
                PreparedSessions(folder)
        path.write_bytes(whole)
    shutil.rmtree(next((folder / "parts").iterdir()))
    with pytest.raises(UserError, match="missing or has no records: run launch/prep"):
        PreparedSessions(folder)


def test_a_missing_part_is_told_before_the_first_batch(made, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(made[0], folder)
    part = sorted((folder / "parts").iterdir())[-1]
    shutil.rmtree(part)
    with pytest.raises(UserError, match=f"{part.name}.* is missing: run launch/prep"):
        open_steps(folder)


def test_preparing_again_makes_the_damaged_part_anew(made, tmp_path):
    raw, out = made[0].parent / "raw", tmp_path / "out"
    prepare(raw, out)
    wanted = list(PreparedSessions(out))
    for name in ("keys.npy", "report.json", "*.array_record*"):
        path = next((out / "parts").rglob(name))
        path.write_bytes(path.read_bytes()[:-3])
        (out / "dataset.json").write_bytes(b"garbage")
        prepare(raw, out)
        assert list(PreparedSessions(out)) == wanted
    (out / "source.json").write_text("[]")
    with pytest.raises(UserError, match="source.json' is damaged .*another --out"):
        prepare(raw, out)


def test_a_truncated_part_of_a_cache_is_made_again(made, tmp_path):
    made_with = tools(made[0])
    shutil.copytree(made[1], tmp_path / "cache")
    path = next((tmp_path / "cache").glob("*.array_record"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="cache' is damaged .*run the same"):
        FeatureCache(tmp_path / "cache", describe(*made_with))
    build_cache(tmp_path / "cache", *made_with)
    FeatureCache(tmp_path / "cache", describe(*made_with))


def test_damaged_sprite_records_are_told(tmp_path):
    source = SpriteSource(turns=1, size=32, length=3)
    folder = build_sprites(tmp_path, source)
    (path,) = folder.glob("*.array_record*")
    whole = path.read_bytes()
    for data in (whole[:-50], b"", None):
        path.unlink()
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(UserError, match="the sprite dataset .* is damaged"):
            open_sprites(folder)
    flipped = np.frombuffer(whole, np.uint8).copy()
    flipped[whole.index(b"IDAT") + 9] ^= 1
    path.write_bytes(flipped.tobytes())
    records = open_sprites(folder)
    with pytest.raises(UserError, match="record . of the sprite dataset .* damaged"):
        records.records(range(3))
