"""A UMT5 text encoder from a local model folder. Nothing is downloaded."""

import dataclasses
import os
from pathlib import Path

import jax

from anchoredit_jax.convert.published_files import FOLDERS
from anchoredit_jax.convert.source import open_weights
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.tokenizer import TOKENIZER_FILES, load_tokenizer
from anchoredit_jax.models.umt5 import Umt5Config
from anchoredit_jax.models.umt5_text import Umt5TextEncoder

TOKENIZERS = ("tokenizer", "google/umt5-xxl", ".")


def load_umt5(
    folder: str | os.PathLike, config: Umt5Config, length: int = 512, batch: int = 1
) -> Umt5TextEncoder:
    """The text encoder whose weights and tokenizer lie in `folder`.

    Args:
      folder: of a Wan 2.1 model, as published by its authors or for diffusers, the
        text_encoder/ of the latter, or one with the encoder's weights (published, or a
        file of launch/convert.py) beside its tokenizer.
      config: sizes and compute dtype. The weights keep the dtype of the file.
      length: S, tokens of a prompt; 512 in Wan.
      batch: prompts encoded at once.

    Raises:
      UserError: no such folder, a part of it is missing (naming what was looked for),
        or does not fit `config`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"text encoder folder {str(folder)!r} does not exist")
    tokenizer = load_tokenizer(tokenizer_folder(folder), length)
    source = open_weights(folder, network="umt5")
    wanted = dataclasses.replace(config, dtype=source.config.dtype)
    if source.config != wanted:
        raise UserError(
            f"{str(source.path)!r} holds a UMT5 encoder of another size: "
            f"{source.config}, expected {wanted}"
        )
    params = jax.tree.map(jax.numpy.asarray, source.tree())
    return Umt5TextEncoder(config, params, tokenizer, batch)


def tokenizer_folder(folder: Path) -> Path:
    """Where the tokenizer of a text encoder's folder lies.

    Raises:
      UserError: it is in none of the places; they are named.
    """
    names = TOKENIZERS
    if folder.absolute().name == FOLDERS["umt5"]:  # of a pipeline: the tokenizer's
        names += ("../tokenizer",)  # folder stands beside it
    for name in names:
        if any((folder / name / file).is_file() for file in TOKENIZER_FILES):
            return folder / name
    raise UserError(
        f"no tokenizer in {str(folder)!r}: looked for {' or '.join(TOKENIZER_FILES)} "
        f"in {', '.join(names)}"
    )
