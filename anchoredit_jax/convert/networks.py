"""The three networks that are converted: their tables, sizes and published configs."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from anchoredit_jax.convert import transformer_names, umt5_names, vae_names
from anchoredit_jax.convert.name_map import DIALECTS, NameMap, listed
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.presets import PRESETS, make_config, preset_of_shapes
from anchoredit_jax.models.umt5 import Umt5Config, make_umt5_config
from anchoredit_jax.models.wan_vae import WanVaeConfig
from anchoredit_jax.strict import shorten
from anchoredit_jax.trees import leaves_by_name

Shapes = Mapping[str, tuple[int, ...]]
Published = Mapping[str, Any]  # what a config.json holds
LIKE = 0.5  # share of a table's names that makes it the network
HEAD_DIM = 128  # of every published Wan transformer


@dataclasses.dataclass(frozen=True)
class Network:
    """What conversion knows of a network.

    Attributes:
      name: "transformer", "vae" or "umt5".
      usual: its usual sizes; its class is that of all.
      table: config -> its name map.
      tree: config -> our tree of shapes.
      config_of: (shapes by published name, dialect, published config) -> config.
      published: (config, dialect) -> what its config.json holds, {} for none.
      files: dialect -> name of its weights in a folder.
    """

    name: str
    usual: Any
    table: Callable[[Any], NameMap]
    tree: Callable[[Any], Any]
    config_of: Callable[[Shapes, str, Published], Any]
    published: Callable[[Any, str], dict[str, Any]]
    files: Mapping[str, str]

    def leaves(self, config: Any) -> dict[str, Any]:
        """Name -> shape and dtype of every leaf of ours."""
        return dict(_leaves(self.tree, config))

    def shapes(self, dialect: str, config: Any) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every published tensor.

        Raises:
          UserError: It is an unknown dialect.
        """
        return self.table(config).shapes(dialect, self.leaves(config))


@functools.lru_cache(maxsize=8)  # tracing a network takes a second
def _leaves(tree: Callable[[Any], Any], config: Any) -> dict[str, Any]:
    return leaves_by_name(tree(config))


def is_known(names: Collection[str]) -> bool:
    """Whether `recognise` would know these names."""
    return _likeliest(names)[0] >= LIKE


def recognise(names: Collection[str]) -> tuple[Network, str]:
    """The network whose tensors go by these names, and the dialect.

    Raises:
      UserError: it is none of the three.
    """
    likeness, network, dialect = _likeliest(names)
    if likeness < LIKE:
        raise UserError(
            "these are not the weights of a Wan transformer, a Wan VAE or a UMT5 "
            f"encoder; found {listed(sorted(names))}"
        )
    return network, dialect


def _likeliest(names: Collection[str]) -> tuple[float, Network, str]:
    found = [
        (network.table(network.usual).likeness(names, dialect), network, dialect)
        for network in NETWORKS.values()
        for dialect in DIALECTS
    ]
    return max(found, key=lambda entry: entry[0])


def _reader(
    shapes: Shapes, table: NameMap, dialect: str
) -> Callable[[str], tuple[int, ...]]:
    """What finds the published shape of a leaf of ours, of layers that of the first."""
    column = DIALECTS.index(dialect)
    names = {row.ours: row.theirs[column].replace("{}", "0") for row in table.rows}

    def dims(ours: str) -> tuple[int, ...]:
        if names[ours] not in shapes:
            raise UserError(
                f"the weights have no {names[ours]!r}, which tells the network's size; "
                f"found {listed(sorted(shapes))}"
            )
        return tuple(shapes[names[ours]])

    return dims


def _layers(shapes: Shapes, prefix: str) -> int:
    numbers = [
        int(match[1])
        for name in shapes
        if (match := re.match(re.escape(prefix) + r"(\d{1,9})\.", name))
    ]
    return max(numbers, default=-1) + 1


def _number(published: Published, name: str, usual: Any) -> Any:
    """A number of a configuration of somebody else, of the usual one's type.

    Raises:
      UserError: it is none.
    """
    found = published.get(name, usual)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise UserError(f"config.json: {name} must be a number, given {shorten(found)}")
    if not math.isfinite(found):
        raise UserError(f"config.json: {name} must be finite, given {found}")
    return type(usual)(found)


def _transformer_config(
    shapes: Shapes, dialect: str, published: Published
) -> TransformerConfig:
    dims = _reader(shapes, transformer_names.name_map(), dialect)
    shape = dims("patch_embedding/kernel")
    if len(shape) != 5:
        raise UserError(
            f"'patch_embedding.weight' is {list(shape)}, expected five axes: it is not "
            "that of a Wan transformer"
        )
    dim, channels, _, patch, _ = shape
    sizes = dict(
        dim=dim,
        ffn_dim=dims("blocks/ffn/fc1/kernel")[0],
        num_layers=_layers(shapes, "blocks."),
        channels=channels,
        text_dim=dims("text_embedding/fc1/kernel")[1],
        freq_dim=dims("time_embedding/fc1/kernel")[1],
    )
    names = ("num_heads", "num_attention_heads")
    heads = next((_number(published, n, 1) for n in names if published.get(n)), None)
    if heads is None:  # no shape shows them
        preset = preset_of_shapes(sizes)
        heads = PRESETS[preset]["num_heads"] if preset else max(dim // HEAD_DIM, 1)
    return TransformerConfig(
        **sizes,
        num_heads=heads,
        patch=patch,
        eps=_number(published, "eps", 1e-6),
    )


def _transformer_published(config: TransformerConfig, dialect: str) -> dict[str, Any]:
    if dialect == "diffusers":
        return {
            "_class_name": "WanTransformer3DModel",
            "patch_size": [1, config.patch, config.patch],
            "num_attention_heads": config.num_heads,
            "attention_head_dim": config.head_dim,
            "in_channels": config.channels,
            "out_channels": config.channels,
            "text_dim": config.text_dim,
            "freq_dim": config.freq_dim,
            "ffn_dim": config.ffn_dim,
            "num_layers": config.num_layers,
            "cross_attn_norm": True,
            "qk_norm": "rms_norm_across_heads",
            "eps": config.eps,
            "rope_max_seq_len": 1024,
        }
    return {
        "_class_name": "WanModel",
        "model_type": "t2v",
        "dim": config.dim,
        "ffn_dim": config.ffn_dim,
        "freq_dim": config.freq_dim,
        "in_dim": config.channels,
        "out_dim": config.channels,
        "num_heads": config.num_heads,
        "num_layers": config.num_layers,
        "text_len": 512,
        "eps": config.eps,
    }


def _vae_config(shapes: Shapes, dialect: str, published: Published) -> WanVaeConfig:
    del published  # tells nothing that the shapes do not
    dims = _reader(shapes, vae_names.name_map(WanVaeConfig()), dialect)
    return WanVaeConfig(
        dim=dims("encoder/conv_in/kernel")[0],
        latent_channels=dims("decoder/post_quant_conv/kernel")[0],
    )


def _vae_published(config: WanVaeConfig, dialect: str) -> dict[str, Any]:
    if dialect == "wan":
        return {}
    return {
        "_class_name": "AutoencoderKLWan",
        "base_dim": config.dim,
        "z_dim": config.latent_channels,
        "dim_mult": list(config.multipliers),
        "num_res_blocks": config.blocks,
        "attn_scales": [],
        "temperal_downsample": list(config.temporal),
        "dropout": 0.0,
        "latents_mean": list(config.mean),
        "latents_std": list(config.std),
    }


def _umt5_config(shapes: Shapes, dialect: str, published: Published) -> Umt5Config:
    first, other = umt5_names.TIED
    tied = {first if name == other else name: shape for name, shape in shapes.items()}
    dims = _reader(tied, umt5_names.NAMES, dialect)
    vocabulary, dim = dims("token_embedding")
    buckets, heads = dims("blocks/attn/position_table")
    return Umt5Config(
        vocabulary=vocabulary,
        dim=dim,
        attention_dim=dims("blocks/attn/q/kernel")[0],
        ffn_dim=dims("blocks/ffn/fc1/kernel")[0],
        num_heads=heads,
        num_layers=_layers(shapes, "blocks." if dialect == "wan" else "encoder.block."),
        num_buckets=buckets,
        max_distance=_number(published, "relative_attention_max_distance", 128),
        eps=_number(published, "layer_norm_epsilon", 1e-6),
    )


def _umt5_published(config: Umt5Config, dialect: str) -> dict[str, Any]:
    if dialect == "wan":
        return {}
    return {
        "architectures": ["UMT5EncoderModel"],
        "model_type": "umt5",
        "vocab_size": config.vocabulary,
        "d_model": config.dim,
        "d_kv": config.head_dim,
        "d_ff": config.ffn_dim,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.num_layers,
        "num_heads": config.num_heads,
        "relative_attention_num_buckets": config.num_buckets,
        "relative_attention_max_distance": config.max_distance,
        "dropout_rate": 0.0,
        "layer_norm_epsilon": config.eps,
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": True,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }


NETWORKS = {
    network.name: network
    for network in (
        Network(
            "transformer",
            make_config("wan_14b"),
            lambda config: transformer_names.name_map(config.patch),
            transformer_names.tree_shapes,
            _transformer_config,
            _transformer_published,
            {
                "wan": "diffusion_pytorch_model.safetensors",
                "diffusers": "diffusion_pytorch_model.safetensors",
            },
        ),
        Network(
            "vae",
            WanVaeConfig(),
            vae_names.name_map,
            vae_names.whole_shapes,
            _vae_config,
            _vae_published,
            {
                "wan": "Wan2.1_VAE.safetensors",
                "diffusers": "diffusion_pytorch_model.safetensors",
            },
        ),
        Network(
            "umt5",
            make_umt5_config("umt5_xxl"),
            lambda config: umt5_names.NAMES,
            umt5_names.tree_shapes,
            _umt5_config,
            _umt5_published,
            {
                "wan": "models_t5_umt5-xxl-enc.safetensors",
                "diffusers": "model.safetensors",
            },
        ),
    )
}


def preset_of(config: TransformerConfig) -> str | None:
    """The preset of this geometry."""
    return preset_of_shapes(vars(config))
