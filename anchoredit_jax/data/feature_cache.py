"""Latents and prompt embeddings of all sessions, computed once and read at random.

It holds one latent an image and one embedding a text of whole sessions, whatever a
stage shows of them: one cache serves all stages. A cache is made in parts, each an
ArrayRecord file that appears whole or not at all; any process can make any part.
`features.json` says what it was made with, and a cache made with anything else, of data
that was prepared anew included, is refused by name. Every record has a check sum, and
the number of the session that it is of.
"""

import dataclasses
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load, save

from anchoredit_jax import files
from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.data.features import LiveFeatures, SessionFeatures
from anchoredit_jax.data.groups import Groups
from anchoredit_jax.data.prepared import PreparedSessions
from anchoredit_jax.data.seals import DAMAGE, check_sealed, reading, sealed
from anchoredit_jax.data.unfit_texts import check_texts
from anchoredit_jax.errors import UserError
from anchoredit_jax.in_use import in_use
from anchoredit_jax.models.codec import Codec
from anchoredit_jax.models.text import TextEncoder
from anchoredit_jax.trees import digest

POLICY = 3  # of decoding: raised when decoded pixels change
DTYPES = {"float16": np.float16, "bfloat16": jnp.bfloat16}
ABOUT = "features.json"
NULL = "null.record"  # of the null instruction
REMAKE = "make it again, in a new folder"
FINISH = "run the same launch/prepare_data.py --cache again"
_HEAD = struct.Struct("<IQ")  # of a record: check sum, number of the session
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
      UserError: the folder holds a cache made with other settings, or the text encoder
        refuses instructions.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, given {dtype!r}")
    # Processes with other numbers make the other parts.
    with in_use(folder, f".{process[0]}-of-{process[1]}"):
        return _build_cache(
            Path(folder), sessions, groups, codec, text, dtype, process, progress
        )


def _build_cache(
    folder: Path,
    sessions: PreparedSessions,
    groups: Groups,
    codec: Codec,
    text: TextEncoder,
    dtype: str,
    process: tuple[int, int],
    progress: Callable[[int, int], None],
) -> Path:
    """`build_cache`, with its share of the folder."""
    path = folder / ABOUT
    check_texts(sessions, groups, text)
    about = describe_features(sessions, groups, codec, text)
    about |= {"dtype": dtype, "parts": -(-len(sessions) // PART_SIZE)}
    about["part size"] = PART_SIZE
    if path.is_file():
        _check_claim(folder, about)
    else:
        files.claim(folder, ABOUT, sealed(about), REMAKE)
    null = save({"text": text.encode([""])[0]})
    files.write_bytes(folder / NULL, _pack(len(sessions), null))
    mine = range(process[0], about["parts"], process[1])
    for done, part in enumerate(mine, 1):
        path = folder / part_name(part)
        of_part = range(len(sessions))[part * PART_SIZE : (part + 1) * PART_SIZE]
        if not _is_whole(path, len(of_part)):
            with files.appearing(path) as temporary:
                cut = _build_part(
                    temporary, of_part, sessions, groups, codec, text, DTYPES[dtype]
                )
                files.write_json(folder / cut_name(part), {"cut off": cut})
        progress(done, len(mine))
    return folder


def describe_cut(folder: str | Path) -> str:
    """Which instructions are longer than the text encoder reads; "" for none.

    Raises:
      UserError: the list of a part is damaged.
    """
    found = sorted(Path(folder).glob(cut_name("*")))
    cut = [line for path in found for line in files.read_json(path, FINISH)["cut off"]]
    if not cut:
        return ""
    lines = [f"instructions that are longer than the text encoder reads: {len(cut)}"]
    lines += [f"  {line}" for line in cut[:3]]
    if len(cut) > 3:
        lines.append(f"  and {len(cut) - 3} more, in {str(Path(folder))!r}")
    return "\n".join(lines)


def _check_claim(folder: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
    """What a cache is of.

    Raises:
      UserError: of something else than expected, or the file that says so is damaged.
    """
    about = files.read_json(folder / ABOUT, REMAKE)
    files.check_claim(folder, about, expected, REMAKE)
    check_sealed(about, folder / ABOUT, REMAKE)
    return about


def _is_whole(path: Path, count: int) -> bool:
    """Tell whether a part is there with all its records."""
    from array_record.python.array_record_module import ArrayRecordReader

    if not path.is_file():
        return False
    try:
        reader = ArrayRecordReader(str(path))
        try:
            return reader.num_records() == count
        finally:
            reader.close()
    except DAMAGE:
        return False


def _pack(number: int, data: bytes) -> bytes:
    """A record with its check sum and the number of its session."""
    number_of = number.to_bytes(8, "little")
    return _HEAD.pack(crc32(data, crc32(number_of)), number) + data


def _unpack(number: int, record: bytes) -> dict[str, np.ndarray]:
    """The arrays of a record.

    Raises:
      ValueError: it is damaged, or another session's.
    """
    data = record[_HEAD.size :]
    if record != _pack(number, data):
        raise ValueError("its check sum is another")
    return load(data)


def part_name(part: int) -> str:
    return f"features-{part:06d}.array_record"


def cut_name(part: int | str) -> str:
    """The list of a part's instructions of which the end was cut off."""
    return f"cut-{part:06d}.json" if isinstance(part, int) else f"cut-{part}.json"


def _build_part(
    path: Path,
    of_part: range,
    sessions: PreparedSessions,
    groups: Groups,
    codec: Codec,
    text: TextEncoder,
    dtype: Any,
) -> list[str]:
    """Write the sessions of a part; returns lines on the texts that were cut off."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    cut: list[str] = []
    cut_off = getattr(text, "cut_off", lambda told: "")
    try:
        for index in of_part:
            group = int(groups.of_session[index])
            if group == len(groups.shapes):  # left out; indices stay as they are
                writer.write(_pack(index, save({})))
                continue
            turns, size = groups.shapes[group]
            session = sessions[index]
            features = SessionFeatures(session, size, codec, text)
            latents = features.latents(range(turns + 1))
            record = {"latents": _bits(latents, dtype)}
            for language in features.languages:
                embedded = features.text(language, range(turns))
                lengths = _lengths(embedded)
                kept = [row[:n] for row, n in zip(embedded, lengths, strict=True)]
                record[f"text/{language}"] = _bits(np.concatenate(kept), dtype)
                record[f"lengths/{language}"] = lengths
            writer.write(_pack(index, save(record)))
            cut += [
                f"{session.key}, turn {turn}, {language}: not read: {lost!r}"
                for language, texts in session.instructions.items()
                for turn, told in enumerate(texts, 1)
                if (lost := cut_off(told))
            ]
    finally:
        writer.close()
    return cut


def _bits(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Rounded to `dtype`, as whole numbers: not every reader knows bfloat16."""
    return array.astype(dtype).view(np.uint16)


def _lengths(embedded: np.ndarray) -> np.ndarray:
    """Tokens of each prompt up to its last vector that is not zero, int32 [N]."""
    real = embedded.any(-1)
    return np.where(real.any(1), real.shape[1] - real[:, ::-1].argmax(1), 0).astype(
        np.int32
    )


class Features(Protocol):
    """Latents and embeddings of sessions by index, see `features` and
    `feature_cache`."""

    null_text: np.ndarray

    def __getitem__(self, index: int) -> Any: ...


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
          UserError: no finished cache, one made with other settings, or of which
            something is damaged.
        """
        folder = Path(folder)
        path = folder / ABOUT
        if not path.is_file():
            raise UserError(
                f"no feature cache in {str(folder)!r}: make one with "
                "launch/prepare_data.py --cache"
            )
        about = _check_claim(folder, expected)
        self._paths = [folder / part_name(i) for i in range(about["parts"])]
        missing = [path for path in self._paths if not path.is_file()]
        if missing:
            raise UserError(
                f"the feature cache {str(folder)!r} lacks {len(missing)} of "
                f"{len(self._paths)} parts, the first is {missing[0].name}: {FINISH} "
                "to finish it"
            )
        null = folder / NULL
        with reading(repr(str(null)), FINISH):
            self.null_text = _unpack(about["sessions"], null.read_bytes())["text"]
        self._dtype, self._size = DTYPES[about["dtype"]], about["part size"]
        self._source: Any = None
        with reading(f"the feature cache {str(folder)!r}", FINISH):
            found = len(self._opened())
            if found != about["sessions"]:
                raise ValueError(f"{found} records of {about['sessions']} sessions")

    def _opened(self) -> Any:
        if self._source is None:
            from grain.sources import ArrayRecordDataSource

            self._source = ArrayRecordDataSource([str(path) for path in self._paths])
        return self._source

    def __getitem__(self, index: int) -> "StoredFeatures":
        path = str(self._paths[index // self._size])
        what = f"the features of session {index} in {path!r}"
        with reading(what, f"remove that file and {FINISH}"):
            record = _unpack(index, self._opened()[index])
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


def open_features(
    config: DataConfig,
    sessions: PreparedSessions,
    groups: Groups,
    codec: Codec,
    text: TextEncoder,
) -> Features:
    """Features of every session: of the cache, if there is one.

    Raises:
      UserError: a cache made with other settings.
    """
    if config.sessions.cache is None:
        return LiveFeatures(sessions, groups, codec, text)
    # Nothing is encoded then: weights need not stay in memory.
    return FeatureCache(
        config.sessions.cache, describe_features(sessions, groups, codec, text)
    )
