"""A random encoder of `transformers`, converted, gives the same hidden states."""

import numpy as np
import pytest

from anchoredit_jax.models.umt5 import Umt5Config
from anchoredit_jax.models.umt5_text import embed_prompts
from tests.convert.published import from_published, to_published

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOLERANCE = 5e-5
# The attention's width is not the model's: a mix-up of the two would show.
CONFIG = Umt5Config(
    vocabulary=80, dim=32, attention_dim=48, ffn_dim=40, num_heads=6, num_layers=3
)
LENGTHS = np.array([150, 40, 1], np.int32)


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    config = transformers.UMT5Config(
        vocab_size=80, d_model=32, d_kv=8, d_ff=40, num_heads=6, num_layers=3
    )
    model = transformers.UMT5EncoderModel(config).eval()
    with torch.no_grad():  # ones and small values in a fresh model hide mistakes
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def tensors_of(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def test_hidden_states(theirs):
    ids = np.random.default_rng(0).integers(2, 80, (3, 150)).astype(np.int32)
    mask = np.arange(150)[None] < LENGTHS[:, None]
    ids[~mask] = 0
    with torch.no_grad():
        hidden = theirs(
            input_ids=torch.tensor(ids, dtype=torch.long),
            attention_mask=torch.tensor(mask.astype(np.int64)),
        ).last_hidden_state.numpy()
    params = from_published("umt5", tensors_of(theirs), CONFIG)
    got = np.asarray(embed_prompts(CONFIG, params, ids, LENGTHS))
    deviation = float(np.abs(got - hidden)[mask].max())
    print(f"transformers UMT5EncoderModel: largest deviation {deviation:.1e}")
    assert deviation < TOLERANCE
    assert not got[~mask].any()


def test_a_strict_load_of_our_tensors_gives_the_same_model(theirs):
    params = from_published("umt5", tensors_of(theirs), CONFIG)
    back = to_published("umt5", params, "diffusers", CONFIG)
    fresh = transformers.UMT5EncoderModel(theirs.config)
    tied = {**back, "encoder.embed_tokens.weight": back["shared.weight"]}
    fresh.load_state_dict({k: torch.from_numpy(v) for k, v in tied.items()})
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor), name


def test_a_saved_folder_is_read(theirs, tmp_path):
    from anchoredit_jax.convert.tensor_files import open_tensors

    theirs.save_pretrained(tmp_path)
    tensors = open_tensors(sorted(tmp_path.glob("model*.safetensors")))
    params = from_published("umt5", tensors, CONFIG)
    embedding = theirs.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(params["token_embedding"], embedding)
    assert np.abs(embedding).max() > 0
