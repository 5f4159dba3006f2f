"""A whole Wan as diffusers publishes it, tiny: transformer, VAE, UMT5, tokenizer."""

import json

import numpy as np
from safetensors.numpy import save_file

from anchoredit_jax.convert import export_weights, open_weights
from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.models import presets
from anchoredit_jax.models.config import TransformerConfig

from .published import write_pickle, write_published
from .test_umt5 import write_tokenizer

PRESET = dict(
    dim=32, ffn_dim=32, num_heads=2, num_layers=2, channels=16, text_dim=32, freq_dim=16
)
EDITING = dict(
    side=32,
    dtype="float32",
    sampler=dict(kind="euler", steps=2, shift=5.0, guidance=2.0),
    memory=dict(sink=1, window=2, positions="window_relative"),
)


def register(monkeypatch):
    """A preset that the tiny transformer is found as."""
    monkeypatch.setitem(presets.PRESETS, "wan_tiny", PRESET)
    monkeypatch.setitem(presets.EDITING, "wan_tiny", EDITING)


def transformer_tensors(dialect, seed=0):
    known, config = NETWORKS["transformer"], TransformerConfig(**PRESET)
    shapes = known.shapes(dialect, config)
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, 0.2, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def write_pipeline(folder, shard_size=None):
    """A folder of diffusers, its networks in shards where `shard_size` (bytes) says."""
    known = NETWORKS["transformer"]
    whole = folder.with_name(folder.name + "_whole") if shard_size else folder
    where = whole / "transformer"
    where.mkdir(parents=True)
    save_file(transformer_tensors("diffusers"), where / known.files["diffusers"])
    config = known.published(TransformerConfig(**PRESET), "diffusers")
    (where / "config.json").write_text(json.dumps(config))
    write_published(whole / "vae", "vae", "diffusers")
    write_published(whole / "text_encoder", "umt5", "diffusers")
    write_tokenizer(folder / "tokenizer")
    for part in ("transformer", "vae", "text_encoder") if shard_size else ():
        source = open_weights(whole / part)
        export_weights({"": source}, "diffusers", folder / part, shard_size=shard_size)
    return folder


def write_reference(path):
    """A training checkpoint of the reference: no heads, no configuration."""
    tensors = {f"model.{k}": v for k, v in transformer_tensors("wan").items()}
    return write_pickle(path, {"generator_ema": tensors, "step": 300})
