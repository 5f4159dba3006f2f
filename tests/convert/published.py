"""Small published weights of every network and dialect, made here."""

import json

import numpy as np
from safetensors.numpy import save_file

from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.convert.source import source_of_params, source_of_tensors
from anchoredit_jax.models.umt5 import make_umt5_config
from anchoredit_jax.models.wan_vae import make_vae_config
from anchoredit_jax.testing import tiny_model

CONFIGS = {
    "transformer": tiny_model(),
    "vae": make_vae_config("tiny"),
    "umt5": make_umt5_config("umt5_tiny"),
}
EVERY = [
    (network, dialect) for network in CONFIGS for dialect in ("wan", "diffusers")
] + [("transformer", "anchoredit")]


def random_tensors(network, dialect="wan", dtype=np.float32, seed=0):
    """name -> array of every tensor of a tiny network."""
    known, config = NETWORKS[network], CONFIGS[network]
    names = "wan" if dialect == "anchoredit" else dialect
    shapes = known.shapes(names, config)
    rng = np.random.default_rng(seed)
    prefix = "model." if dialect == "anchoredit" else ""
    return {
        prefix + name: rng.normal(size=shape).astype(dtype)
        for name, shape in shapes.items()
    }


def from_published(network, tensors, config):
    """Our tree of published tensors, as a file of them is read."""
    return source_of_tensors(tensors, network, config).tree()


def to_published(network, params, dialect, config):
    """Published tensors of our tree, as an export writes them."""
    return dict(source_of_params(params, network, config).published(dialect))


def write_published(folder, network, dialect, dtype=np.float32):
    """A published folder, or a training checkpoint of the reference; its path."""
    tensors = random_tensors(network, dialect, dtype)
    folder.mkdir(parents=True, exist_ok=True)
    if dialect == "anchoredit":
        return write_pickle(
            folder / "model.pt",
            {
                "generator": random_tensors(network, dialect, dtype, seed=1),
                "generator_ema": tensors,
                "step": 300,
            },
        )
    known, config = NETWORKS[network], CONFIGS[network]
    save_file(tensors, folder / known.files[dialect], metadata={"format": "pt"})
    if published := known.published(config, dialect):
        (folder / "config.json").write_text(json.dumps(published))
    return folder


def write_pickle(path, content):
    import torch

    def to_torch(value):
        if isinstance(value, dict):
            return {key: to_torch(item) for key, item in value.items()}
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype.name == "bfloat16":
            return torch.from_numpy(value.view(np.uint16)).view(torch.bfloat16)
        return torch.from_numpy(value)

    torch.save(to_torch(content), path)
    return path
