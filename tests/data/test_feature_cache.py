"""The feature cache: the same batches without codec and text encoder, or refused."""

import gc
import pickle
import weakref

import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.data import feature_cache, features
from anchoredit_jax.data.buckets import BucketConfig
from anchoredit_jax.data.config import DataConfig, SessionsConfig
from anchoredit_jax.data.feature_cache import (
    FeatureCache,
    build_cache,
    describe_cut,
    describe_features,
)
from anchoredit_jax.data.prepared import PreparedSessions, prepare
from anchoredit_jax.data.session_batches import group_prepared, open_session_steps
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import PatchCodec
from anchoredit_jax.models.text import NgramTextEncoder

from .corpus import make_corpus

CODEC, TEXT = PatchCodec(stride=2), NgramTextEncoder(length=8, dim=16)
LAYOUTS = {"chain": 5, "pairs": 1}  # with its turns


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("cached")
    make_corpus(root / "raw", good=24)
    prepare(root / "raw", root / "prepared", languages=("en", "zh"))
    return root / "prepared"


def data(prepared, cache=None, layout="chain", size=24, **buckets):
    sessions = SessionsConfig(
        str(prepared), cache and str(cache), layout, BucketConfig(**buckets)
    )
    return DataConfig(
        "sessions", size, LAYOUTS[layout], batch=4, seed=3, null_fraction=0.2,
        drop_fraction=0.2, sessions=sessions,
    )  # fmt: skip


def open_steps(*arguments, codec=CODEC, text=TEXT, **options):
    return open_session_steps(data(*arguments, **options), codec, text, patch=2)


def tools(prepared, codec=CODEC, text=TEXT, **options):
    sessions = PreparedSessions(prepared)
    groups = group_prepared(sessions, data(prepared, **options), codec.stride, 2)
    return sessions, groups, codec, text


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_one_cache_serves_all_stages_with_the_batches_of_none(
    prepared, tmp_path, dtype
):
    cache = build_cache(tmp_path / "features", *tools(prepared), dtype=dtype)
    kind = {"float16": np.float16, "bfloat16": jnp.bfloat16}[dtype]
    for layout in LAYOUTS:
        plain = open_steps(prepared, layout=layout)
        cached = open_steps(prepared, cache, layout=layout)
        cached = pickle.loads(pickle.dumps(cached))  # as worker processes get it
        for step in range(min(plain.plan.steps_per_epoch, 20)):
            ours, theirs = cached[step], plain[step]
            for name, value in theirs.items():
                if name in ("latents", "text"):
                    value = value.astype(kind).astype(np.float32)
                np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_only_what_is_shown_is_decoded(prepared, monkeypatch):
    decoded = []
    real = features.decode_to_bucket
    monkeypatch.setattr(
        features, "decode_to_bucket", lambda *a: decoded.append(a[2]) or real(*a)
    )
    steps = open_steps(prepared, layout="pairs")
    for step in range(5):
        decoded.clear()
        valid = steps[step]["frame_valid"]
        latents = steps[step]["latents"]
        kept = (latents[:, 0] == latents[:, 1]).all((1, 2, 3)).sum()
        assert len(decoded) == 2 * (2 * len(valid) - kept)  # asked for twice


def test_nothing_is_encoded_beside_a_cache(prepared, tmp_path, monkeypatch):
    cache = build_cache(tmp_path / "features", *tools(prepared))
    steps = open_steps(prepared, cache)
    monkeypatch.setattr(PatchCodec, "encode", None)
    monkeypatch.setattr(NgramTextEncoder, "encode", None)
    assert steps[0]["latents"].dtype == np.float32


def test_codec_and_text_encoder_are_let_go_beside_a_cache(prepared, tmp_path):
    """At real sizes they would take 24 GB of a chip's memory."""
    cache = build_cache(tmp_path / "features", *tools(prepared))
    codec, text = PatchCodec(stride=2), NgramTextEncoder(length=8, dim=16)
    gone = [weakref.ref(codec), weakref.ref(text)]
    steps = open_steps(prepared, cache, codec=codec, text=text)
    del codec, text
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    assert steps[0]["latents"].dtype == np.float32


def test_only_real_tokens_are_stored(prepared, tmp_path):
    small = build_cache(tmp_path / "a", *tools(prepared))
    long = NgramTextEncoder(length=200, dim=16)
    large = build_cache(tmp_path / "b", *tools(prepared, text=long))
    sizes = [(f / feature_cache.part_name(0)).stat().st_size for f in (small, large)]
    assert sizes[1] < 1.02 * sizes[0]


def test_a_stale_cache_is_refused_by_name(prepared, tmp_path):
    made = tools(prepared)
    cache = build_cache(tmp_path / "features", *made)
    FeatureCache(cache, describe_features(*made))
    for name, changed in (
        ("codec", tools(prepared, codec=PatchCodec(stride=4))),
        ("text encoder", tools(prepared, text=NgramTextEncoder(8, 16, seed=1))),
        ("sizes", tools(prepared, step=8)),
        ("sizes", tools(prepared, max_ratio=1.0)),
    ):
        with pytest.raises(UserError, match=f"with another .*{name}.*make it again"):
            FeatureCache(cache, describe_features(*changed))
        with pytest.raises(UserError, match=f"with another .*{name}"):
            build_cache(cache, *changed)
    for same in (dict(layout="pairs"), dict(mix_turns=True)):
        FeatureCache(cache, describe_features(*tools(prepared, **same)))
    with pytest.raises(UserError, match="another dtype"):
        build_cache(cache, *made, dtype="float16")
    with pytest.raises(UserError, match="another decoding policy"):
        FeatureCache(cache, {**describe_features(*made), "decoding policy": 0})


def test_another_network_of_the_same_kind_is_told_by_its_weights(prepared):
    class Codec(PatchCodec):
        def __init__(self, params):
            super().__init__(2)
            self.params = params

    a, b = (
        describe_features(*tools(prepared, codec=Codec({"kernel": np.full(3, value)})))
        for value in (1.0, 2.0)
    )
    assert a["codec"] != b["codec"]


def test_parts_are_shared_out_and_an_interrupted_job_goes_on(
    prepared, tmp_path, monkeypatch
):
    monkeypatch.setattr(feature_cache, "PART_SIZE", 5)  # 24 sessions: five parts
    made = tools(prepared)
    whole = build_cache(tmp_path / "whole", *made)
    shared = tmp_path / "shared"
    build_cache(shared, *made, process=(1, 2))
    with pytest.raises(UserError, match="lacks 3 of 5 parts.*run the same"):
        FeatureCache(shared, describe_features(*made))
    before = {p: p.stat().st_mtime_ns for p in shared.glob("*.array_record")}
    build_cache(shared, *made, process=(0, 2))
    assert all(p.stat().st_mtime_ns == at for p, at in before.items())
    a, b = (
        FeatureCache(folder, describe_features(*made)) for folder in (whole, shared)
    )
    for index in (0, 7, 23):
        one, other = a[index], b[index]
        turns = int(made[0].turns[index])
        frames = range(turns + 1)
        np.testing.assert_array_equal(one.latents(frames), other.latents(frames))
        assert one.languages == other.languages
        for language in one.languages:
            np.testing.assert_array_equal(
                one.text(language, range(turns)), other.text(language, range(turns))
            )
    with pytest.raises(UserError, match="no feature cache in"):
        FeatureCache(tmp_path / "nowhere", {})
    with pytest.raises(UserError, match="dtype must be one of"):
        build_cache(tmp_path / "x", *made, dtype="int8")


def test_the_null_instruction_is_kept(prepared, tmp_path):
    made = tools(prepared)
    cache = FeatureCache(build_cache(tmp_path / "f", *made), describe_features(*made))
    np.testing.assert_array_equal(cache.null_text, TEXT.encode([""])[0])


def test_instructions_that_are_cut_off_are_counted_and_told(prepared, tmp_path):
    class Short(NgramTextEncoder):
        def cut_off(self, text):
            return text[3:] if "3 1" in text else ""

    made = tools(prepared, text=Short(8, 16))
    cache = build_cache(tmp_path / "f", *made)
    told = describe_cut(cache)
    lost = sum(
        "3 1" in text
        for session in made[0]
        for texts in session.instructions.values()
        for text in texts
    )
    assert lost and told.startswith(
        f"instructions that are longer than the text encoder reads: {lost}\n"
    )
    assert "turn 2, " in told and "not read: " in told
    assert describe_cut(build_cache(tmp_path / "g", *tools(prepared))) == ""
