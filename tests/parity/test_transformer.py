"""The recorded full-sequence forwards: masks, strides, prompts, teacher forcing."""

import json

import jax
import numpy as np
import pytest

from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.diffusion import schedule
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import Transformer
from anchoredit_jax.models.block import (
    Block,
    CrossAttention,
    FeedForward,
    SelfAttention,
)
from anchoredit_jax.models.presets import make_config
from anchoredit_jax.models.prompts import prompt_visibility
from anchoredit_jax.models.transformer import Head, TimeEmbedding
from tests.convert.published import to_published

from .conftest import GOLDEN, channels_last, golden_config, padded_prompts

VARIANTS = (
    "a_bidir", "a_bidir_stride4", "b_causal", "c_causal_stride4", "d_causal_local2",
    "e_bidir_allprompts_stride4", "e_causal_allprompts", "f_tf", "f_tf_augt",
    "f_tf_local2", "g_causal_floatt",
)  # fmt: skip
# Whose x_0 is recorded too: a map of the velocity, in which only the times matter and
# whether clean frames are beside.
CONVERTED = ("b_causal", "f_tf", "g_causal_floatt")


def visibility_of(settings) -> FrameVisibility:
    if settings["clean_x"]:
        return FrameVisibility("teacher_forcing")
    if settings["bidirectional_self_attn"]:
        return FrameVisibility("bidirectional")
    window = settings["local_attn_size"]
    return FrameVisibility("causal", None if window == -1 else window)


@pytest.mark.parametrize(
    ("name", "backend"),
    [(name, "prefix") for name in VARIANTS]
    + [("d_causal_local2", "xla"), ("d_causal_local2", "dense")],
)
def test_forward(golden, golden_params, name, backend):
    arrays, meta = golden("dit_train_forward")
    assert set(meta["variants"]) == set(VARIANTS)
    settings = meta["variants"][name]
    visibility = visibility_of(settings)
    current = settings["cross_attn_current_prompt_only"]
    config = golden_config(
        temporal_stride=settings["temporal_rope_stride"],
        text_visibility="current" if current else "so_far",
        attention=backend,
    )
    latents = channels_last(arrays["x"])
    timesteps = arrays[settings["timesteps"]].astype(np.float32)
    if settings["clean_x"]:
        latents = np.concatenate([channels_last(arrays["clean_x"]), latents], 1)
        augmented = arrays[settings["aug_t"]] if settings["aug_t"] else 0 * timesteps
        timesteps = np.concatenate([augmented, timesteps], 1).astype(np.float32)
    np.testing.assert_array_equal(
        visibility.table(latents.shape[1]), arrays[f"{name}/self_mask_frames"]
    )
    velocity = jax.jit(Transformer(config).apply)(
        {"params": golden_params},
        latents,
        timesteps,
        padded_prompts(arrays["prompt_tokens"]),
        visibility=visibility,
    )
    velocity = velocity[:, -4:]
    expected = channels_last(arrays[f"{name}/flow_pred"])
    deviation = np.abs(velocity - expected).max()
    print(f"{name} {backend}: largest deviation {deviation:.1e}")
    assert deviation < 3e-5
    for shift in (1, 5) if name in CONVERTED else ():
        noised, at = latents[:, -4:], timesteps[:, -4:]
        sigma = schedule.sigma_at(at, float(shift))
        x0 = schedule.velocity_to_x0(noised, velocity, sigma)
        expected = channels_last(arrays[f"{name}/pred_x0_shift{shift}"])
        # 12.5 and 62.5 lie midway between two points of the grid of shift 1: the
        # neighbouring sigma, 0.001 away, is as right.
        tied = np.isin(at, (12.5, 62.5) if shift == 1 else ())
        deviation = np.abs(x0 - expected).max((2, 3, 4))
        print(f"{name} {backend}: x0 at shift {shift}: {deviation[~tied].max():.1e}")
        assert (deviation[~tied] < 3e-5).all()
        neighbour = 0.0011 * np.abs(velocity).max((2, 3, 4))
        assert (deviation[tied] < neighbour[tied]).all()


@pytest.mark.parametrize("name", VARIANTS)
def test_which_prompt_tokens_a_frame_sees(golden, name):
    arrays, meta = golden("dit_train_forward")
    settings = meta["variants"][name]
    current = settings["cross_attn_current_prompt_only"]
    config = golden_config(text_visibility="current" if current else "so_far")
    frames = 8 if settings["clean_x"] else 4
    prompt, mask = prompt_visibility(
        config, frames, (3, 512), True, visibility_of(settings)
    )
    tokens = (512 * prompt[:, :, None] + np.arange(512)).reshape(frames, -1)
    recorded = zip(
        arrays[f"{name}/cross_kv_start"], arrays[f"{name}/cross_kv_count"], strict=True
    )
    for frame, (start, count) in enumerate(recorded):
        np.testing.assert_array_equal(
            np.sort(tokens[frame, mask[frame]]), start + np.arange(count)
        )


def test_every_intermediate(golden, golden_params):
    """Embeddings, the parts of the first block, both blocks and the head."""
    arrays, meta = golden("dit_train_forward")
    settings = meta["variants"]["b_causal"]
    config = golden_config(temporal_stride=settings["temporal_rope_stride"])
    modules = (Block, FeedForward, SelfAttention, CrossAttention, TimeEmbedding, Head)
    text = padded_prompts(arrays["prompt_tokens"])
    _, kept = Transformer(config, parent=None).apply(
        {"params": golden_params},
        channels_last(arrays["x"]),
        arrays[settings["timesteps"]].astype(np.float32),
        text,
        capture_intermediates=lambda module, _: (
            isinstance(module, modules) or module.name == "patch_embedding"
        ),
        mutable="intermediates",
    )
    kept = kept["intermediates"]

    def tokens(x):
        return np.reshape(x, (2, 96, 64))

    blocks = kept["blocks"]
    got = {
        "patch": tokens(kept["patch_embedding"]["__call__"][0]),
        "ctx": kept["text_embedding"]["__call__"][0][:, :, :13],
        "e": kept["time_embedding"]["__call__"][0][0].reshape(8, 64),
        "e6": kept["time_embedding"]["__call__"][0][1].reshape(8, 384),
        "block0": tokens(blocks["__call__"][0][0][0]),
        "block1": tokens(blocks["__call__"][0][0][1]),
        "block0_self_attn": tokens(blocks["self_attn"]["__call__"][0][0][0]),
        "block0_cross_attn": tokens(blocks["cross_attn"]["__call__"][0][0]),
        "block0_ffn": tokens(blocks["ffn"]["__call__"][0][0]),
        "head": kept["head"]["__call__"][0],
    }
    prefix = "b_causal/inter/"
    recorded = {key.removeprefix(prefix) for key in arrays if key.startswith(prefix)}
    assert set(got) == recorded
    for name, value in got.items():
        expected = arrays[prefix + name]
        deviation = np.abs(value - expected).max()
        print(f"{name}: largest deviation {deviation:.1e}")
        assert deviation < 3e-5 * max(1.0, np.abs(expected).max()), name


@pytest.mark.parametrize(("size", "tensors"), [("14b", 1095), ("1_3b", 825)])
def test_names_and_shapes_at_full_size(size, tensors):
    recorded = json.loads((GOLDEN / f"state_dict_keys_{size}.json").read_text())
    assert len(recorded) == tensors
    shapes = NETWORKS["transformer"].shapes("wan", make_config(f"wan_{size}"))
    assert {name: list(shape) for name, shape in shapes.items()} == recorded


def test_weights_come_back_under_every_recorded_name(golden, golden_params):
    arrays, _ = golden("dit_weights")
    back = to_published("transformer", golden_params, "wan", golden_config())
    assert {f"w/{name}" for name in back} == set(arrays)
    for name, tensor in back.items():
        np.testing.assert_array_equal(tensor, arrays[f"w/{name}"])
