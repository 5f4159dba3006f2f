"""Sessions a second and core: ours, the obvious way, webdataset, the feature cache."""

import io
import json
import resource
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from anchoredit_jax.data.buckets import BucketConfig
from anchoredit_jax.data.chains import Chains
from anchoredit_jax.data.feature_cache import (
    FeatureCache,
    build_cache,
    describe_features,
)
from anchoredit_jax.data.fitting import decode_to_bucket
from anchoredit_jax.data.groups import Groups, Members, group_sessions
from anchoredit_jax.data.images import crop_box
from anchoredit_jax.data.plan import BatchPlan
from anchoredit_jax.data.prepared import PreparedSessions, prepare
from anchoredit_jax.data.session_buckets import bucket_table
from anchoredit_jax.models.codec import PatchCodec
from anchoredit_jax.models.text import NgramTextEncoder
from benchmarks.timing import Timing, interleave

SESSIONS, FRAMES, SIDE = 12, 3, 256
SOURCE = (1536, 2048)  # pixels of a photograph


def benchmark_data(folder: Path, repetitions: int = 5) -> dict[str, Timing]:
    """Time to make all sessions' images at their bucket, one process, one thread.

    Args:
      folder: for the files; emptied by the caller.

    Returns:
      "ours" (prepared sessions, `decode_to_bucket`), "obvious" (Pillow: decode, crop,
      resize, to numpy), "webdataset" (the same from tar shards; left out where it is
      not installed) and "cache" (latents of the feature cache).
    """
    raw = folder / "raw"
    _photographs(raw)
    prepare(raw, folder / "prepared")
    sessions = PreparedSessions(folder / "prepared")
    groups = group_sessions(
        sessions.turns, sessions.height, sessions.width, SIDE, 16, BucketConfig()
    )
    size = groups.shapes[0][1]
    codec, text = PatchCodec(8), NgramTextEncoder(16, 64)
    tools = (sessions, groups, codec, text)
    build_cache(folder / "cache", *tools)
    cache = FeatureCache(folder / "cache", describe_features(*tools))

    def ours():
        for index in range(len(sessions)):
            np.stack([decode_to_bucket(data, size) for data in sessions[index].images])

    def obvious():
        for session in sorted(raw.iterdir()):
            np.stack([_plain(p.read_bytes(), size) for p in session.glob("*.jpg")])

    def cached():
        for index in range(len(sessions)):
            cache[index].latents(range(FRAMES))

    functions: dict[str, Callable] = {"ours": ours, "obvious": obvious}
    if (loader := _webdataset(raw, folder / "shard.tar", size)) is not None:
        functions["webdataset"] = loader
    return interleave({**functions, "cache": cached}, repetitions)


def benchmark_plan(sessions: int = 10**8, turns: int = 14) -> tuple[float, int]:
    """Seconds until a plan of so many sessions is ready, and the resident memory that
    it took beyond the column of their groups, bytes.

    Args:
      turns: the most that a session has; they are of all sizes of a megapixel.
    """
    shapes = tuple(
        (n, size) for size in bucket_table(1024, 16) for n in range(1, turns + 1)
    )
    column = np.empty(sessions, np.uint16)
    rng = np.random.default_rng(0)
    for start in range(0, sessions, 2**20):
        part = column[start : start + 2**20]
        part[:] = rng.integers(0, len(shapes), len(part))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    members = Members(column, len(shapes))
    chains = Chains(Groups(shapes, column), members, 5, 0.05, 0.5, ("benchmark", 0))
    planned = BatchPlan(chains.sizes, batch=16)[0]
    for number in planned.samples.tolist():
        chains.sample(planned.epoch, planned.bucket, number)
    seconds = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
    return seconds, unit * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def _plain(data: bytes, size: tuple[int, int]) -> np.ndarray:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image = image.crop(crop_box(image.size[::-1], size))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC))


def _photographs(folder: Path) -> None:
    """Smooth shapes and some grain: about as many bytes a pixel as a photograph."""
    rng = np.random.default_rng(0)
    height, width = SOURCE
    for number in range(SESSIONS):
        session = folder / f"s{number:03d}"
        session.mkdir(parents=True)
        coarse = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        smooth = Image.fromarray(coarse).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for frame in range(FRAMES):
            grain = rng.normal(0, 6, (height, width, 1))
            pixels = np.clip(np.asarray(smooth) + grain + frame, 0, 255).astype(
                np.uint8
            )
            Image.fromarray(pixels).save(
                session / f"{session.name}.{frame}.jpg", quality=90
            )
        told = {"instructions": [{"en": f"edit {n}"} for n in range(FRAMES - 1)]}
        (session / f"{session.name}.json").write_text(json.dumps(told))


def _webdataset(raw: Path, shard: Path, size: tuple[int, int]) -> Callable | None:
    """Makes the same images from a tar shard; None where webdataset is missing."""
    try:
        import webdataset
    except ModuleNotFoundError:
        return None
    with tarfile.open(shard, "w") as tar:
        for path in sorted(raw.rglob("*.jpg")):
            tar.add(path, path.name)

    def load():
        for sample in webdataset.WebDataset(str(shard), shardshuffle=False):
            np.stack([_plain(sample[f"{n}.jpg"], size) for n in range(FRAMES)])

    return load
