"""Instructions to vectors: byte tokenizer and frozen n-gram encoder.

See docs/method.md, Text.

A text encoder is any object with `length`, `dim` and `encode`; embeddings after a
prompt's end are zero vectors, "" is the null instruction.
`encoders.make_text_encoder` picks one by name: the one here at toy size, UMT5
(`umt5_text.py`) at full size.
"""

import dataclasses
import functools
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from anchoredit_jax.errors import UserError
from anchoredit_jax.limits import LONGEST
from anchoredit_jax.models.umt5 import UMT5_SIZES, Umt5Config, make_umt5_config
from anchoredit_jax.strict import (
    Bounded,
    FieldError,
    choose_kind,
    geometry,
    result,
    way,
)
from anchoredit_jax.trees import DTYPES

REMEMBERED = 4096  # words whose n-gram vectors are kept
NGRAMS = (3, 4, 5)
# Of the whole word beside its n-grams; no integer, so that no sum of signs is zero.
WORD_WEIGHT = 2.5
CONTEXT = 0.5
_LARGEST = 1 << 25  # numbers of a prompt's embedding; 512 x 4096 are a sixteenth
_SHOWN = 200  # characters of an instruction in a message


@dataclasses.dataclass(frozen=True)
class NgramSettings(Bounded, place="text.ngram"):
    """The settings of the n-gram encoder.

    Attributes:
      seed: another seed, another set of frozen vectors.
    """

    seed: int = geometry(0, within="[0, 9223372036854775807]")


@dataclasses.dataclass(frozen=True)
class Umt5Settings(Bounded, place="text.umt5"):
    """The settings of UMT5.

    Attributes:
      folder: model folder with its weights and tokenizer; see
        `convert/umt5_folder.py` for the layouts.
      size: "umt5_xxl" or "umt5_tiny".
      dtype: compute dtype of matrix products, "float32" or "bfloat16".
      batch: prompts that are encoded at once.
    """

    folder: str = way()
    size: str = geometry("umt5_xxl", within=tuple(UMT5_SIZES))
    dtype: str = result("float32", within=DTYPES)
    batch: int = way(1, within="[1, 65536]")

    @property
    def network(self) -> Umt5Config:
        """The sizes of the network."""
        return make_umt5_config(self.size, dtype=self.dtype)


@dataclasses.dataclass(frozen=True)
class TextConfig(Bounded):
    """The choice of a run's text encoder, with its settings.

    Attributes:
      kind: "ngram", the frozen hashed encoder without weights, or "umt5", Wan's.
      length: S, tokens of a prompt (words, for "ngram"; 512 in Wan).
      dim: Dt, width of a token's embedding; that of `umt5.size`, for "umt5".
      ngram, umt5: settings of that kind, None of the other.
    """

    kind: str = geometry("ngram")
    length: int = geometry(16, within="[1, 8192]")
    dim: int = geometry(64, within="[1, 65536]")
    ngram: NgramSettings | None = None
    umt5: Umt5Settings | None = None

    def __post_init__(self):
        super().__post_init__()
        choose_kind(self, "text")
        if self.length * self.dim > _LARGEST:
            raise FieldError(
                self,
                "length",
                f"{self.length} x dim {self.dim} is more than {_LARGEST} numbers a "
                "prompt",
            )
        if self.umt5 is not None and self.dim != self.umt5.network.dim:
            raise UserError(
                f"text.dim must be {self.umt5.network.dim}, the width of "
                f"{self.umt5.size}, got {self.dim}"
            )


@runtime_checkable
class TextEncoder(Protocol):
    """A text encoder as sessions, data and evaluation use it."""

    length: int
    dim: int

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """n prompts -> float32 [n, S, Dt], zero vectors after each prompt's end."""
        ...


def check_length(text: str) -> None:
    """Refuse what no encoder reads to its end, before any time is spent on it.

    Raises:
      UserError: more than `LONGEST` characters.
    """
    if len(text) > LONGEST:
        raise UserError(
            f"instruction of {len(text)} characters: at most {LONGEST} are taken, "
            f"shorten it: {shown(text)}"
        )


def shown(text: str) -> str:
    """A text in quotes as a message has room for it."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


class ByteTokenizer:
    """UTF-8 bytes plus one; 0 is padding. Knows every text, needs no vocabulary."""

    vocabulary = 257
    padding = 0

    def encode(self, text: str) -> np.ndarray:
        """Text -> ids int32 [bytes]."""
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32) + 1

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Ids -> text; padding is dropped, a cut character becomes U+FFFD."""
        ids = np.asarray(ids, np.int32)
        kept = ids[ids != self.padding] - 1
        return kept.astype(np.uint8).tobytes().decode(errors="replace")


class NgramTextEncoder:
    """Gives every word a frozen vector from the n-grams of its bytes; has no weights.

    A word's vector is the sum of random sign vectors, one for each n-gram of 3 to 5
    bytes of "<word>" and one, heavier, for the whole; scaled to RMS 1. Words
    that share letters are close, no two words are equal, and a word never seen in
    training still has a sensible place. Half of the previous word's vector, rotated,
    is added, so "red to blue" differs from "blue to red" in more than order.

    Signs are bits of BLAKE2b, so vectors are the same on every machine and in every
    version of numpy. Case, punctuation and runs of white space do not matter.
    """

    def __init__(self, length: int = 16, dim: int = 64, seed: int = 0) -> None:
        self.length = length
        self.dim = dim
        self.seed = seed
        # A signed permutation of channels: a rotation without a matrix.
        self._permutation = np.array(
            sorted(range(dim), key=lambda c: _digest(f"channel {c}".encode(), seed))
        )
        self._signs = _sign_vector(b"rotation", dim, seed)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Instructions -> float32 [n, S, Dt]; "" (the null instruction) is all zero.

        Raises:
          UserError: what `refusal` says of one.
        """
        out = np.zeros((len(texts), self.length, self.dim), np.float32)
        for row, text in zip(out, texts, strict=True):
            if refused := self.refusal(text):
                raise UserError(refused)
            words = split_words(text)
            if not words:
                continue
            vectors = np.stack([_word(word, self.dim, self.seed) for word in words])
            row[: len(words)] = vectors
            before = vectors[:-1, self._permutation] * self._signs
            row[1 : len(words)] += CONTEXT * before
        return out

    def refusal(self, text: str) -> str:
        """Why `encode` refuses a text: more words than S, more characters than
        `LONGEST`, or not a single word; "" if it takes it."""
        try:
            words = split_words(text)
        except UserError as error:
            return str(error)
        if len(words) > self.length:
            return (
                f"instruction of {len(words)} words: this model reads at most "
                f"{self.length}, shorten it: {shown(text)}"
            )
        return ""


@functools.lru_cache(REMEMBERED)
def _word(word: str, dim: int, seed: int) -> np.ndarray:
    ids = ByteTokenizer().encode(f"<{word}>").astype("<u2")
    total = WORD_WEIGHT * _sign_vector(b"word" + ids.tobytes(), dim, seed)
    for n in NGRAMS:
        for start in range(len(ids) - n + 1):
            total += _sign_vector(ids[start : start + n].tobytes(), dim, seed)
    # Divided by its length, times sqrt(Dt): RMS of exactly one.
    return (total / np.sqrt(np.mean(total**2))).astype(np.float32)


def _sign_vector(name: bytes, dim: int, seed: int) -> np.ndarray:
    """A random vector of -1 and +1, float64 [Dt], that `name` and seed decide."""
    blocks = [
        _digest(name + block.to_bytes(4, "little"), seed)
        for block in range(-(-dim // 512))
    ]
    bits = np.unpackbits(np.frombuffer(b"".join(blocks), np.uint8))[:dim]
    return 2.0 * bits - 1.0


def _digest(name: bytes, seed: int) -> bytes:
    key = seed.to_bytes(8, "little")
    return hashlib.blake2b(name, key=key).digest()


def split_words(text: str) -> list[str]:
    """Lower-case words of an instruction; "" and white space give none.

    Raises:
      UserError: something is written but no word (only punctuation, say): taking it
        for the null instruction would hide a mistake; or see `check_length`.
    """
    check_length(text)
    cleaned = unicodedata.normalize("NFKC", text).lower()
    words = re.findall(r"\w+", cleaned)
    if not words and cleaned.strip():
        raise UserError(
            f"instruction {shown(text)} has no words; write some, or leave it empty to "
            "keep the image as it is"
        )
    return words
