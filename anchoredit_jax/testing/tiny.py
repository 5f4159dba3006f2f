"""A model of a few thousand parameters: same code as 14B, compiled in seconds."""

import functools
from typing import Any

import jax
import numpy as np

from anchoredit_jax.config import run_from_dict
from anchoredit_jax.models import TransformerConfig
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.step import random_params

TEXT_TOKENS = 4
SIZE = 8  # latent height and width


def tiny_model(**changes: Any) -> TransformerConfig:
    """Two layers of width 32."""
    settings = dict(
        dim=32, ffn_dim=32, num_heads=2, num_layers=2, channels=4, text_dim=8,
        freq_dim=16,
    )  # fmt: skip
    return TransformerConfig(**{**settings, **changes})


def tiny_run(stage: str, **sections: Any) -> RunConfig:
    """A run of one stage with the tiny model; `sections` are nested overrides."""
    if stage == "single_turn":  # has no parent in most tests
        options = {"from_scratch": True, **sections.get("options", {})}
        sections = {**sections, "options": options}
    config = {
        "stage": stage,
        "model": {**vars(tiny_model()), **sections.pop("model", {})},
        "text": {"length": TEXT_TOKENS, "dim": 8},
        "optimizer": {
            "learning_rate": 1e-3,
            "warmup": 1,
            **sections.pop("optimizer", {}),
        },
        **sections,
    }
    return run_from_dict(config)


@functools.lru_cache
def tiny_params(model: TransformerConfig | None = None, seed: int = 0) -> dict:
    """Parameters of the tiny model, all of them away from their trivial initial values
    (a fresh head is zero and hides every difference)."""
    model = model or tiny_model()
    init = jax.jit(lambda key: random_params(model, key, TEXT_TOKENS))
    params = init(jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: np.asarray(x + 0.1 * rng.normal(size=x.shape), np.float32), params
    )


def tiny_batch(batch: int = 2, frames: int = 4, seed: int = 0) -> dict:
    """A batch of random latents and prompts, as `data.batches` makes them."""
    rng = np.random.default_rng(seed)
    return {
        "latents": rng.normal(size=(batch, frames, SIZE, SIZE, 4)).astype(np.float32),
        "text": rng.normal(size=(batch, frames - 1, TEXT_TOKENS, 8)).astype(np.float32),
        "null_text": np.zeros((batch, TEXT_TOKENS, 8), np.float32),
        "id": np.arange(batch, dtype=np.int32) + 10 * seed,
        "frame_valid": np.ones((batch, frames), np.float32),
        "answers": np.zeros((batch, frames, SIZE, SIZE), np.float32),
    }
