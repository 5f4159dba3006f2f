"""Prompts to the token ids of UMT5, from the tokenizer in a local model folder.

Text is cleaned first, as Wan does: HTML entities are unescaped twice, white space is
stripped and every run of it becomes one space. Wan also calls ftfy's `fix_text`; a
result that depends on whether a package is installed cannot be repeated, so we do what
it does to text typed on purpose (curly quotes become straight, Unicode NFC, control
characters go) and leave out its repair of wrongly decoded text.
"""

import html
import json
import logging
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from anchoredit_jax.errors import UserError

log = logging.getLogger(__name__)

_TOLD = 4096  # texts of which it is remembered that they were told
_SHOWN = 200  # characters of what was cut off

TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
END, PADDING = "</s>", "<pad>"

_STRAIGHT = str.maketrans(
    dict.fromkeys("\u02bc\u2018\u2019\u201a\u201b", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
)
_BYTE_ORDER_MARK = "\ufeff"


class PromptTokenizer:
    """Fixed-length token ids: the text's tokens, the end token, padding.

    Attributes:
      length: S.
      end, padding: ids of the end token and of padding.
      vocabulary: every id is below it.
    """

    def __init__(
        self,
        pieces: Callable[[str], Sequence[int]],
        end: int,
        padding: int,
        vocabulary: int,
        length: int = 512,
    ) -> None:
        """
        Args:
          pieces: clean text -> ids of its tokens, without any special token.

        Raises:
          UserError: a length that has no room for a token.
        """
        if length < 1:
            raise UserError(f"prompts must have at least 1 token, given {length}")
        self._pieces = pieces
        self.end = end
        self.padding = padding
        self.vocabulary = vocabulary
        self.length = length
        self._told: set[int] = set()  # hashes of some texts that were too long

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """n prompts -> (ids int32 [n, S], lengths int32 [n], the end token included).

        "" is the end token alone. A prompt of more than S - 1 tokens is cut to the
        first S - 1, as in Wan; a warning says what was cut off, once a text.
        """
        ids = np.full((len(texts), self.length), self.padding, np.int32)
        lengths = np.zeros(len(texts), np.int32)
        for i, text in enumerate(texts):
            pieces = list(self._pieces(clean_prompt(text)))
            if len(pieces) > self.length - 1 and hash(text) not in self._told:
                if len(self._told) < _TOLD:
                    self._told.add(hash(text))
                lost = self.cut_off(text)
                log.warning(
                    "prompt of %d tokens: only the first %d are read, shorten it; not "
                    "read: %r",
                    len(pieces),
                    self.length - 1,
                    lost if len(lost) <= _SHOWN else f"{lost[:_SHOWN]}...",
                )
            row = [*pieces[: self.length - 1], self.end]
            ids[i, : len(row)] = row
            lengths[i] = len(row)
        return ids, lengths

    def cut_off(self, text: str) -> str:
        """The end of a text that `encode` does not read; "" if it reads all of it."""
        text = clean_prompt(text)
        if len(self._pieces(text)) < self.length:
            return ""
        # The longest beginning that is read as a whole; tokens may be parts of words.
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if len(self._pieces(text[:middle])) < self.length:
                low = middle
            else:
                high = middle - 1
        return text[low:]


def clean_prompt(text: str) -> str:
    """A prompt as the tokenizer gets it, see the top of this file."""
    text = html.unescape(html.unescape(text)).translate(_STRAIGHT)
    text = unicodedata.normalize("NFC", text).replace(_BYTE_ORDER_MARK, "")
    text = " ".join(text.split())
    return "".join(c for c in text if unicodedata.category(c) != "Cc")


def load_tokenizer(folder: Path, length: int = 512) -> PromptTokenizer:
    """The tokenizer of a model folder: tokenizer.json, else spiece.model.

    The first is read by `tokenizers`, the second by `sentencepiece`; only the library
    that is needed has to be installed.

    Args:
      length: S, tokens of a prompt.

    Raises:
      UserError: neither file is there, it is damaged or has no end or padding token, or
        its library is not installed.
    """
    folder = Path(folder)
    for name, load in zip(TOKENIZER_FILES, (_load_json, _load_spiece), strict=True):
        if (folder / name).is_file():
            return load(folder / name, length)
    raise UserError(
        f"no tokenizer in {str(folder)!r}: expected {' or '.join(TOKENIZER_FILES)}"
    )


def _load_json(path: Path, length: int) -> PromptTokenizer:
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise UserError(_install(path, "tokenizers")) from error
    # The library raises a bare Exception on a damaged file: look before it does.
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"tokenizer {str(path)!r} is damaged: {error}") from error
    if not isinstance(content, dict) or "model" not in content:
        raise UserError(f"{str(path)!r} is no tokenizer: it has no 'model'")
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    # Length and special tokens are ours to decide, whatever the file says.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return PromptTokenizer(
        lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        _special(path, END, tokenizer.token_to_id(END)),
        _special(path, PADDING, tokenizer.token_to_id(PADDING)),
        max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1,
        length,
    )


def _load_spiece(path: Path, length: int) -> PromptTokenizer:
    try:
        import sentencepiece
    except ModuleNotFoundError as error:
        raise UserError(_install(path, "sentencepiece")) from error
    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise UserError(f"tokenizer {str(path)!r} is damaged: {error}") from error
    return PromptTokenizer(
        model.encode,
        _special(path, END, model.eos_id()),
        _special(path, PADDING, model.pad_id()),
        model.get_piece_size(),
        length,
    )


def _special(path: Path, token: str, number: int | None) -> int:
    if number is None or number < 0:
        raise UserError(f"tokenizer {str(path)!r} has no {token!r}: it is not UMT5's")
    return number


def _install(path: Path, library: str) -> str:
    return (
        f"reading {str(path)!r} needs the library {library}: "
        f"pip install 'anchoredit_jax[umt5]' or pip install {library}"
    )
