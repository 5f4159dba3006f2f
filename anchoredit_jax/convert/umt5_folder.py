"""A UMT5 text encoder from a local model folder. Nothing is downloaded."""

import os
from pathlib import Path

import jax

from anchoredit_jax.convert.tensor_files import open_tensors
from anchoredit_jax.convert.umt5_names import from_published
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.tokenizer import TOKENIZER_FILES, load_tokenizer
from anchoredit_jax.models.umt5 import Umt5Config
from anchoredit_jax.models.umt5_text import Umt5TextEncoder

# Where the parts lie, first match counts: diffusers' folders of Wan, Wan's own, and a
# folder of the encoder alone.
WEIGHTS = (
    "text_encoder/model*.safetensors",
    "models_t5*.safetensors",
    "models_t5*.pth",
    "model*.safetensors",
)
TOKENIZERS = ("tokenizer", "google/umt5-xxl", ".")


def load_umt5(
    folder: str | os.PathLike, config: Umt5Config, length: int = 512, batch: int = 1
) -> Umt5TextEncoder:
    """The text encoder whose weights and tokenizer lie in `folder`.

    Args:
      folder: of a Wan 2.1 model, as published by its authors or for diffusers, or one
        with the encoder's weights beside its tokenizer.
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
    tokenizer = load_tokenizer(_tokenizer_folder(folder), length)
    tensors = open_tensors(_weight_files(folder))
    params = jax.tree.map(jax.numpy.asarray, from_published(tensors, config))
    return Umt5TextEncoder(config, params, tokenizer, batch)


def _weight_files(folder: Path) -> list[Path]:
    for pattern in WEIGHTS:
        if found := sorted(folder.glob(pattern)):
            return found
    raise UserError(
        f"no UMT5 weights in {str(folder)!r}: looked for {', '.join(WEIGHTS)}"
    )


def _tokenizer_folder(folder: Path) -> Path:
    for name in TOKENIZERS:
        if any((folder / name / file).is_file() for file in TOKENIZER_FILES):
            return folder / name
    raise UserError(
        f"no tokenizer in {str(folder)!r}: looked for {' or '.join(TOKENIZER_FILES)} "
        f"in {', '.join(TOKENIZERS)}"
    )
