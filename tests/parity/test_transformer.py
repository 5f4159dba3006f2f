"""The recorded full-sequence forwards: masks, strides, prompts, teacher forcing."""

import json

import jax
import numpy as np
import pytest

from anchoredit_jax.convert import transformer_names
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import Transformer
from anchoredit_jax.models.presets import make_config

from .conftest import GOLDEN, channels_last, golden_config, padded_prompts

VARIANTS = (
    "a_bidir", "a_bidir_stride4", "b_causal", "c_causal_stride4", "d_causal_local2",
    "e_bidir_allprompts_stride4", "e_causal_allprompts", "f_tf", "f_tf_augt",
    "f_tf_local2", "g_causal_floatt",
)  # fmt: skip


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
    arrays, meta = golden("dit_train_forward.npz")
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


@pytest.mark.parametrize(("size", "tensors"), [("14b", 1095), ("1_3b", 825)])
def test_names_and_shapes_at_full_size(golden, size, tensors):
    del golden  # skips where nothing is recorded
    recorded = json.loads((GOLDEN / f"state_dict_keys_{size}.json").read_text())
    assert len(recorded) == tensors
    shapes = transformer_names.published_shapes("wan", make_config(f"wan_{size}"))
    assert {name: list(shape) for name, shape in shapes.items()} == recorded


def test_weights_come_back_under_every_recorded_name(golden, golden_params):
    arrays, _ = golden("dit_weights.npz")
    back = transformer_names.to_published(golden_params, "wan", golden_config())
    assert {f"w/{name}" for name in back} == set(arrays)
    for name, tensor in back.items():
        np.testing.assert_array_equal(tensor, arrays[f"w/{name}"])
