"""Our transformer and PyPI's `diffusers.WanTransformer3DModel`, on the same weights."""

import jax
import numpy as np
import pytest

from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import Transformer, TransformerConfig
from tests.convert.published import from_published, to_published

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

CONFIG = TransformerConfig(
    dim=64, ffn_dim=96, num_heads=2, num_layers=2, text_dim=32, freq_dim=32,
    temporal_stride=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def theirs():
    """A random network; also what it starts at zero is drawn."""
    torch.manual_seed(0)
    network = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=CONFIG.num_heads,
        attention_head_dim=CONFIG.head_dim,
        in_channels=CONFIG.channels,
        out_channels=CONFIG.channels,
        text_dim=CONFIG.text_dim,
        freq_dim=CONFIG.freq_dim,
        ffn_dim=CONFIG.ffn_dim,
        num_layers=CONFIG.num_layers,
        eps=CONFIG.eps,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def tensors_of(network):
    return {name: value.numpy() for name, value in network.state_dict().items()}


def test_their_names_are_ours_to_the_last(theirs):
    tensors = tensors_of(theirs)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes == NETWORKS["transformer"].shapes("diffusers", CONFIG)
    params = from_published("transformer", tensors, CONFIG)
    back = to_published("transformer", params, "diffusers", CONFIG)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in back.items()})


def test_velocities_agree_with_a_timestep_a_frame(theirs):
    rng = np.random.default_rng(0)
    frames, side, tokens = 4, 8, 12
    latents = rng.normal(size=(2, frames, side, side, 16)).astype(np.float32)
    timesteps = np.float32([[0, 250.5, 600, 999], [1000, 0, 3.25, 500]])
    text = rng.normal(size=(2, tokens, CONFIG.text_dim)).astype(np.float32)
    ours = jax.jit(Transformer(CONFIG).apply)(
        {"params": from_published("transformer", tensors_of(theirs), CONFIG)},
        latents,
        timesteps,
        np.repeat(text[:, None], frames - 1, 1),  # all frames see one prompt
        visibility=FrameVisibility("bidirectional"),
    )
    per_token = np.repeat(timesteps, (side // 2) ** 2, axis=1)
    with torch.no_grad():
        expected = theirs(
            torch.from_numpy(latents.transpose(0, 4, 1, 2, 3)),
            torch.from_numpy(per_token),
            torch.from_numpy(text),
            return_dict=False,
        )[0].numpy()
    deviation = np.abs(np.asarray(ours).transpose(0, 4, 1, 2, 3) - expected).max()
    print(f"WanTransformer3DModel: largest deviation {deviation:.1e}")
    assert np.abs(expected).max() > 0.5
    assert deviation < 5e-5
