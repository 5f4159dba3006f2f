"""A whole pipeline of diffusers: what `DiffusionPipeline.from_pretrained` opens."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anchoredit_jax.convert.card import write_card
from anchoredit_jax.convert.exporting import SHARD_SIZE, check_losses, export_weights
from anchoredit_jax.convert.source import Source, open_weights
from anchoredit_jax.convert.umt5_folder import tokenizer_folder
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import appearing, write_json

DIFFUSERS = "0.35.0"  # whose layout is written; later ones read it
SCHEDULER = "FlowMatchEulerDiscreteScheduler"


def export_pipeline(
    source: Source,
    out: str | Path,
    *,
    dtype: str | None = None,
    shard_size: int = SHARD_SIZE,
    allow_loss: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Path:
    """Write a transformer with its VAE, text encoder, tokenizer and scheduler.

    Args:
      source: a transformer with a configuration, which names the others.
      out: a folder, which appears whole or not at all.
      dtype, shard_size, allow_loss, progress: see `export_weights`.

    Raises:
      UserError: the transformer is not one of a Wan VAE and UMT5, these are not where
        its configuration says, or `export_weights` refuses.
    """
    out = Path(out)
    run = source.run
    if run is None or run.codec.wan_vae is None or run.text.umt5 is None:
        raise UserError(
            f"{str(source.path)!r} is no transformer with a Wan VAE and a UMT5 text "
            "encoder, which a pipeline of diffusers has: export the transformer alone, "
            "without --pipeline"
        )
    if out.exists() or out.is_symlink() or out.suffix:
        raise UserError(f"{str(out)!r} exists, or is no folder: name a new folder")
    lost = check_losses(source, "diffusers", allow_loss)
    if run.codec.wan_vae.weights is None:
        raise UserError(
            "this configuration has no file of its VAE (codec.wan_vae.weights): import "
            "the transformer with --vae"
        )
    parts = {
        "transformer": source,
        "vae": open_weights(run.codec.wan_vae.weights, network="vae"),
        "text_encoder": open_weights(run.text.umt5.folder, network="umt5"),
    }
    tokenizer = tokenizer_folder(Path(run.text.umt5.folder))
    with appearing(out) as temporary:
        temporary.mkdir()
        for name, part in parts.items():
            export_weights(
                {"": part}, "diffusers", temporary / name, dtype=dtype,
                shard_size=shard_size, allow_loss=True, progress=progress,
            )  # fmt: skip
        kind = _write_tokenizer(tokenizer, temporary / "tokenizer")
        scheduler = {
            "_class_name": SCHEDULER,
            "_diffusers_version": DIFFUSERS,
            "num_train_timesteps": 1000,
            "shift": run.sampler.shift,
        }
        write_json(temporary / "scheduler" / "scheduler_config.json", scheduler, 2)
        index = {
            "_class_name": "WanPipeline",
            "_diffusers_version": DIFFUSERS,
            "boundary_ratio": None,
            "scheduler": ["diffusers", SCHEDULER],
            "text_encoder": ["transformers", "UMT5EncoderModel"],
            "tokenizer": ["transformers", kind],
            "transformer": ["diffusers", "WanTransformer3DModel"],
            "transformer_2": [None, None],
            "vae": ["diffusers", "AutoencoderKLWan"],
        }
        write_json(temporary / "model_index.json", index, 2)
        write_card(temporary, "", source, "diffusers", lost)
    return out


def _write_tokenizer(source: Path, out: Path) -> str:
    """Copy a tokenizer's files; the name of its class in transformers."""
    out.mkdir()
    names = ("tokenizer.json", "spiece.model", "special_tokens_map.json")
    for name in (*names, "tokenizer_config.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    fast = (out / "tokenizer.json").is_file()
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast" if fast else "T5Tokenizer",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "model_max_length": 512,
    }
    file = out / "tokenizer_config.json"
    if file.is_file():
        config = json.loads(file.read_text(encoding="utf-8"))
    else:
        write_json(file, config, 2)
    return str(config.get("tokenizer_class", "T5TokenizerFast"))
