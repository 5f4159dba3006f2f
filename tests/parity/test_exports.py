"""What `launch/convert.py` exports loads in PyTorch and computes the same."""

import json

import jax
import numpy as np
import pytest

from anchoredit_jax.checkpoint.safetensors_stream import SafetensorsFile
from anchoredit_jax.convert import (
    export_weights,
    import_weights,
    open_weights,
    umt5_names,
    vae_names,
)
from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import Transformer, TransformerConfig
from anchoredit_jax.models.umt5 import make_umt5_config
from anchoredit_jax.models.umt5_text import embed_prompts
from anchoredit_jax.models.wan_vae import WanCodec, make_vae_config
from tests.convert.published import from_published, to_published

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

TOLERANCE = 5e-5
MODEL = TransformerConfig(
    dim=64, ffn_dim=96, num_heads=2, num_layers=2, text_dim=32, freq_dim=32
)
CONFIGS = {
    "transformer": MODEL,
    "vae": make_vae_config("tiny"),
    "umt5": make_umt5_config("umt5_tiny"),
}


@pytest.fixture(scope="module", params=list(CONFIGS))
def network(request):
    return request.param


def export(tmp_path, network, dialect="diffusers"):
    """Random weights of ours, and the folder that they are exported to."""
    known, config = NETWORKS[network], CONFIGS[network]
    rng = np.random.default_rng(0)
    theirs = {
        name: (0.2 * rng.normal(size=shape)).astype(np.float32)
        for name, shape in known.shapes("wan", config).items()
    }
    from safetensors.numpy import save_file

    src = tmp_path / "src"
    src.mkdir()
    save_file(theirs, src / known.files["wan"])
    if published := known.published(config, "wan"):
        (src / "config.json").write_text(json.dumps(published))
    ours = open_weights(import_weights(open_weights(src), tmp_path / "ours"))
    out = export_weights({"": ours}, dialect, tmp_path / "out")
    params = from_published(network, theirs, config)
    return params, out


def test_the_transformer(tmp_path, monkeypatch):
    params, out = export(tmp_path, "transformer")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    theirs = with_our_places(out).eval()
    rng = np.random.default_rng(1)
    latents = rng.normal(size=(1, 3, 8, 12, 16)).astype(np.float32)
    text = rng.normal(size=(1, 1, 7, 32)).astype(np.float32)
    timesteps = np.float32([[0.0, 250.0, 999.0]])
    ours = Transformer(MODEL).apply(
        {"params": params}, latents, timesteps, np.repeat(text, 2, 1),
        visibility=FrameVisibility("bidirectional"),
    )  # fmt: skip
    tokens = np.repeat(timesteps, 4 * 6, 1)
    with torch.no_grad():
        (got,) = theirs(
            torch.from_numpy(latents.transpose(0, 4, 1, 2, 3).copy()),
            torch.from_numpy(tokens),
            torch.from_numpy(text[:, 0]),
            return_dict=False,
        )
    deviation = np.abs(got.numpy().transpose(0, 2, 3, 4, 1) - ours).max()
    print(f"exported transformer: largest deviation {deviation:.1e}")
    assert deviation < TOLERANCE


def with_our_places(folder):
    """The model of diffusers, its frames as far apart as the metadata says."""
    model = diffusers.WanTransformer3DModel.from_pretrained(folder)
    file = SafetensorsFile(folder / "diffusion_pytorch_model.safetensors")
    assert file.metadata["network"] == "transformer"
    stride = int(file.metadata["temporal_stride"])
    for table in (model.rope.freqs_cos, model.rope.freqs_sin):
        apart = table[::stride, : model.rope.t_dim].clone()
        table[: len(apart), : model.rope.t_dim] = apart
    return model


def test_the_vae(tmp_path):
    whole, out = export(tmp_path, "vae")
    config = CONFIGS["vae"]
    theirs = diffusers.AutoencoderKLWan.from_pretrained(out, local_files_only=True)
    codec = WanCodec(vae_names.still_image(whole, config), config)
    rng = np.random.default_rng(1)
    images = rng.uniform(-1, 1, (1, 32, 48, 3)).astype(np.float32)
    mean, std = np.float32(config.mean), np.float32(config.std)
    video = torch.from_numpy(np.moveaxis(images, -1, 1)[:, :, None].copy())
    with torch.no_grad():
        mode = theirs.eval().encode(video).latent_dist.mode()
    got = np.moveaxis(mode.numpy()[:, :, 0], 1, -1)
    deviation = np.abs(codec.encode(images) * std + mean - got).max()
    print(f"exported VAE: largest deviation {deviation:.1e}")
    assert deviation < TOLERANCE * max(1.0, np.abs(got).max())


def test_umt5(tmp_path):
    params, out = export(tmp_path, "umt5")
    theirs = transformers.UMT5EncoderModel.from_pretrained(out, local_files_only=True)
    config = CONFIGS["umt5"]
    table = theirs.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(table, params[umt5_names.EMBEDDING])
    assert np.linalg.norm(table) > 0
    rng = np.random.default_rng(1)
    ids = rng.integers(1, config.vocabulary, (2, 9)).astype(np.int32)
    lengths = np.int32([9, 5])
    mask = np.arange(9)[None] < lengths[:, None]
    ours = np.asarray(embed_prompts(config, params, ids, lengths))
    with torch.no_grad():
        got = theirs.eval()(
            torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))
        ).last_hidden_state.numpy()
    deviation = np.abs(ours - got)[mask].max()
    print(f"exported UMT5: largest deviation {deviation:.1e}")
    assert deviation < TOLERANCE
    assert np.abs(ours[0, :5] - ours[1, :5]).max() > 1e-3  # two prompts, two results


def test_a_strict_load_in_plain_torch(tmp_path, network):
    """Names, shapes and dtypes of the original Wan files, one file to one dict."""
    from safetensors.torch import load_file

    params, out = export(tmp_path, network, "wan")
    known, config = NETWORKS[network], CONFIGS[network]
    state = load_file(out / known.files["wan"])
    expected = to_published(network, params, "wan", config)
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], torch.from_numpy(tensor.copy())), name


def test_weights_may_be_narrower_than_the_computation():
    """Inference with bfloat16 parameters: softmax, norms and residuals stay float32."""
    known = NETWORKS["transformer"]
    rng = np.random.default_rng(0)
    flat = {
        name: (0.2 * rng.normal(size=leaf.shape)).astype(np.float32)
        for name, leaf in known.leaves(MODEL).items()
    }
    from anchoredit_jax.trees import unflatten

    params = unflatten(flat)
    narrow = jax.tree.map(lambda x: x.astype(jax.numpy.bfloat16), params)
    inputs = (
        rng.normal(size=(1, 3, 8, 8, 16)).astype(np.float32),
        np.float32([[0.0, 250.0, 999.0]]),
        rng.normal(size=(1, 2, 7, 32)).astype(np.float32),
    )
    wide, got = (
        Transformer(MODEL).apply({"params": p}, *inputs) for p in (params, narrow)
    )
    assert got.dtype == np.float32
    assert np.abs(got - wide).max() < 0.05 * np.abs(wide).max()
