"""Latents and prompt embeddings of all sessions, computed once and read at random.

It holds one latent an image and one embedding a text of whole sessions, whatever a
stage shows of them: one cache serves all stages. A cache is made in parts, each an
ArrayRecord file that appears whole or not at all; any process can make any part.
`features.json` says what it was made with, and a cache made with anything else is
refused by name.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load, save

from anchoredit_jax import files
from anchoredit_jax.data.features import SessionFeatures
from anchoredit_jax.data.groups import Groups
from anchoredit_jax.data.prepared import PreparedSessions
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import Codec
from anchoredit_jax.models.text import TextEncoder
from anchoredit_jax.trees import digest

POLICY = 1  # of decoding: raised when decoded pixels change
DTYPES = {"float16": np.float16, "bfloat16": jnp.bfloat16}
ABOUT = "features.json"
REMAKE = "make it again, in a new folder"
PART_SIZE = 1000  # sessions


def describe_features(
    sessions: PreparedSessions, groups: Groups, codec: Codec, text: TextEncoder
) -> dict[str, Any]:
    """Everything that decides what a cache holds, as plain JSON values."""
    of_session = np.ascontiguousarray(groups.of_session)
    sizes = files.sha256(repr(groups.shapes).encode(), of_session.data, digits=16)
    return {
        "dataset": sessions.fingerprint,
        "sessions": len(sessions),
        "decoding policy": POLICY,
        "sizes": sizes,
        "codec": describe_part(codec),
        "text encoder": describe_part(text),
    }


def describe_part(part: Any) -> str:
    """Class, plain settings and weights of a codec or text encoder."""
    settings = {
        name: value
        for name, value in sorted(vars(part).items())
        if isinstance(value, int | float | str | tuple) and not name.startswith("__")
    }
    config = getattr(part, "config", getattr(part, "_config", None))
    if dataclasses.is_dataclass(config):
        settings |= dataclasses.asdict(config)
    weights = getattr(part, "params", None)
    told = json.dumps([type(part).__name__, settings], sort_keys=True, default=str)
    if weights is not None:
        told += digest(weights)
    return f"{type(part).__name__} {files.sha256(told.encode(), digits=16)}"


def build_cache(
    folder: str | Path,
    sessions: PreparedSessions,
    groups: Groups,
    codec: Codec,
    text: TextEncoder,
    *,
    dtype: str = "bfloat16",
    process: tuple[int, int] = (0, 1),
    progress: Callable[[int, int], None] = lambda done, parts: None,
) -> Path:
    """Make the parts that are not there yet.

    Latents are encoded in float32 and stored as `dtype`; of an embedding the real
    tokens are stored.

    Args:
      process: (index, count): this process makes every count-th part.
      progress: called with the parts done and those to do.

    Raises:
      UserError: the folder holds a cache made with other settings.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, given {dtype!r}")
    folder = Path(folder)
    about = describe_features(sessions, groups, codec, text)
    about |= {"dtype": dtype, "parts": -(-len(sessions) // PART_SIZE)}
    files.claim(folder, ABOUT, about, REMAKE)
    null = save({"text": text.encode([""])[0]})
    files.write_bytes(folder / "null.safetensors", null)
    mine = range(process[0], about["parts"], process[1])
    for done, part in enumerate(mine, 1):
        path = folder / part_name(part)
        if not path.is_file():
            with files.appearing(path) as temporary:
                _build_part(
                    temporary, part, sessions, groups, codec, text, DTYPES[dtype]
                )
        progress(done, len(mine))
    return folder


def part_name(part: int) -> str:
    return f"features-{part:06d}.array_record"


def _build_part(
    path: Path,
    part: int,
    sessions: PreparedSessions,
    groups: Groups,
    codec: Codec,
    text: TextEncoder,
    dtype: Any,
) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    try:
        first = part * PART_SIZE
        for index in range(first, min(first + PART_SIZE, len(sessions))):
            group = int(groups.of_session[index])
            if group == len(groups.shapes):  # left out; indices stay as they are
                writer.write(save({}))
                continue
            turns, size = groups.shapes[group]
            features = SessionFeatures(sessions[index], size, codec, text)
            latents = features.latents(range(turns + 1))
            record = {"latents": _bits(latents, dtype)}
            for language in features.languages:
                embedded = features.text(language, range(turns))
                lengths = _lengths(embedded)
                kept = [row[:n] for row, n in zip(embedded, lengths, strict=True)]
                record[f"text/{language}"] = _bits(np.concatenate(kept), dtype)
                record[f"lengths/{language}"] = lengths
            writer.write(save(record))
    finally:
        writer.close()


def _bits(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Rounded to `dtype`, as whole numbers: not every reader knows bfloat16."""
    return array.astype(dtype).view(np.uint16)


def _lengths(embedded: np.ndarray) -> np.ndarray:
    """Tokens of each prompt up to its last vector that is not zero, int32 [N]."""
    real = embedded.any(-1)
    return np.where(real.any(1), real.shape[1] - real[:, ::-1].argmax(1), 0).astype(
        np.int32
    )


class FeatureCache:
    """Features of every session by its index.

    Attributes:
      null_text: embedding of the null instruction, float32 [S, Dt].
    """

    def __init__(self, folder: str | Path, expected: Mapping[str, Any]):
        """
        Args:
          expected: what `describe_features` says of the features that are wanted.

        Raises:
          UserError: no finished cache, or one made with other settings.
        """
        folder = Path(folder)
        path = folder / ABOUT
        if not path.is_file():
            raise UserError(
                f"no feature cache in {str(folder)!r}: make one with "
                "launch/prepare_data.py --cache"
            )
        about = json.loads(path.read_text())
        files.check_claim(folder, about, expected, REMAKE)
        self._paths = [str(folder / part_name(i)) for i in range(about["parts"])]
        missing = [p for p in self._paths if not Path(p).is_file()]
        if missing:
            raise UserError(
                f"the feature cache {str(folder)!r} lacks {len(missing)} of "
                f"{len(self._paths)} parts: run the same command again to finish it"
            )
        self.null_text = load((folder / "null.safetensors").read_bytes())["text"]
        self._dtype = DTYPES[about["dtype"]]
        self._source: Any = None

    def __getitem__(self, index: int) -> "StoredFeatures":
        if self._source is None:
            from grain.sources import ArrayRecordDataSource

            self._source = ArrayRecordDataSource(self._paths)
        record = load(self._source[index])
        return StoredFeatures(record, self._dtype, self.null_text.shape)

    def __getstate__(self) -> dict[str, Any]:
        """Other processes open the files themselves."""
        return {**self.__dict__, "_source": None}


class StoredFeatures:
    """The stored features of one session; only what is asked for is widened.

    It has the methods of `SessionFeatures`.
    """

    def __init__(self, record: Mapping[str, np.ndarray], dtype: Any, shape: Any):
        self._record, self._dtype, self._shape = record, dtype, shape

    @property
    def languages(self) -> list[str]:
        """The languages that the instructions are in, sorted."""
        names = (name.partition("/") for name in self._record)
        return sorted(language for kind, _, language in names if kind == "lengths")

    def latents(self, frames: Sequence[int]) -> np.ndarray:
        """Float32 [n, h, w, C] of these frames; one may be named twice."""
        return self._wide(self._record["latents"][list(frames)])

    def text(self, language: str, turns: Sequence[int]) -> np.ndarray:
        """Float32 [n, S, Dt] of these instructions."""
        tokens = self._record[f"text/{language}"]
        ends = self._record[f"lengths/{language}"].cumsum()
        embedded = np.zeros((len(turns), *self._shape), np.float32)
        for row, turn in zip(embedded, turns, strict=True):
            kept = tokens[ends[turn - 1] if turn else 0 : ends[turn]]
            row[: len(kept)] = self._wide(kept)
        return embedded

    def _wide(self, bits: np.ndarray) -> np.ndarray:
        return bits.view(self._dtype).astype(np.float32)
