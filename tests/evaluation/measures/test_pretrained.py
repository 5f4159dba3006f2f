"""Extractors out of folders are what `transformers` computes; bad ones are refused."""

import json
import shutil
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.measures import feature_measures, load_extractor

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

RNG = np.random.default_rng(0)
VISION = dict(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    image_size=28,
    patch_size=14,
)


def save(model, folder):
    with torch.no_grad():  # values of a fresh model are small, and biases zero
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.eval().save_pretrained(folder)
    # The crop is smaller than what is resized, and sizes are not those of our images.
    transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}
    ).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "dinov2-tiny"
    config = transformers.Dinov2Config(**VISION, mlp_ratio=2)
    return save(transformers.Dinov2Model(config), folder), folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("models") / "clip-tiny"
    text = dict(VISION, vocab_size=32, bos_token_id=0, eos_token_id=1)
    config = transformers.CLIPConfig(
        text_config=text, vision_config=VISION, projection_dim=8
    )
    return save(transformers.CLIPModel(config), folder), folder


@pytest.fixture
def copy(dinov2, tmp_path):
    """A folder of a sound model, to be spoilt."""
    return shutil.copytree(dinov2[1], tmp_path / "model")


def pictures(n, height, width):
    return RNG.integers(0, 256, (n, height, width, 3), np.uint8)


def pixels_of(folder, image):
    """Preprocessing by hand: resize by Pillow, crop the centre, normalise."""
    from PIL import Image

    height, width = image.shape[:2]
    scale = 32 / min(height, width)
    size = (int(width * scale), int(height * scale))
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    top, left = (resized.shape[0] - 28) // 2, (resized.shape[1] - 28) // 2
    values = resized[top : top + 28, left : left + 28] / 255
    config = json.loads((folder / "preprocessor_config.json").read_text())
    values = (values - config["image_mean"]) / config["image_std"]
    return torch.tensor(values.transpose(2, 0, 1)[None], dtype=torch.float32)


@pytest.mark.parametrize("size", [(32, 32), (64, 40), (8, 8)])
def test_dinov2_gives_its_class_token_row_by_row(dinov2, size):
    model, folder = dinov2
    images = pictures(5, *size)
    got = load_extractor(f"dino={folder}", batch=2)(images)
    with torch.no_grad():
        expected = [
            model(pixels_of(folder, image)).last_hidden_state[0, 0] for image in images
        ]
    assert got.dtype == np.float32 and got.shape == (5, 16)
    np.testing.assert_allclose(got, np.stack(expected), atol=1e-5)
    assert np.abs(got[0] - got[1]).max() > 0.01


@pytest.mark.parametrize("size", [(32, 32), (40, 64)])
def test_clip_gives_its_projected_image_tower_row_by_row(clip, size):
    model, folder = clip
    images = pictures(3, *size)
    got = load_extractor(str(folder), batch=2)(images)
    with torch.no_grad():
        expected = [
            model.visual_projection(
                model.vision_model(pixels_of(folder, image)).pooler_output
            )[0]
            for image in images
        ]
    assert got.dtype == np.float32 and got.shape == (3, 8)
    np.testing.assert_allclose(got, np.stack(expected), atol=1e-5)


def test_measures_are_named_after_the_extractor_and_one_for_equal_images(dinov2, clip):
    frames = pictures(4, 32, 32)
    frames[2:] = frames[:1]
    for spec, name in (
        (f"dino={dinov2[1]}", "dino"),
        (f"{dinov2[1]}/", "dinov2-tiny"),
        (str(clip[1]), "clip-tiny"),
    ):
        values = feature_measures(load_extractor(spec, batch=3), frames)
        assert list(values) == [f"{name}_source", f"{name}_previous"]
        np.testing.assert_allclose(values[f"{name}_source"][1:], 1, atol=1e-6)
        np.testing.assert_allclose(values[f"{name}_previous"][2], 1, atol=1e-6)
        assert values[f"{name}_source"][0] < 0.9999
        assert values[f"{name}_source"][0] == values[f"{name}_previous"][0]


def test_a_path_may_hold_an_equals_sign(dinov2, tmp_path):
    folder = shutil.copytree(dinov2[1], tmp_path / "step=3" / "model")
    assert load_extractor(str(folder)).name == "model"
    assert load_extractor(f"a={folder}").name == "a"


def test_weights_of_half_precision_are_computed_in_float32(dinov2, copy):
    tensors = load_file(copy / "model.safetensors")
    halves = {name: value.astype(np.float16) for name, value in tensors.items()}
    save_file(halves, copy / "model.safetensors", {"format": "pt"})
    config = json.loads((copy / "config.json").read_text())
    config |= {"dtype": "float16", "torch_dtype": "float16"}
    (copy / "config.json").write_text(json.dumps(config))
    images = pictures(2, 32, 32)
    got = load_extractor(str(copy))(images)
    assert got.dtype == np.float32
    wide = {name: value.astype(np.float32) for name, value in halves.items()}
    save_file(wide, copy / "model.safetensors", {"format": "pt"})
    np.testing.assert_allclose(got, load_extractor(str(copy))(images), atol=1e-6)


def test_images_of_another_kind_are_refused(dinov2):
    with pytest.raises(UserError, match="images must be uint8"):
        load_extractor(str(dinov2[1]))(np.zeros((2, 32, 32, 3), np.float32))


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_a_missing_library_names_the_extra(dinov2, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=r"pip install 'anchoredit_jax\[torch\]'"):
        load_extractor(str(dinov2[1]))


@pytest.mark.parametrize("spec", ["no/such/folder", "clip=no/such/folder", "clip=", ""])
def test_a_missing_folder(spec):
    with pytest.raises(UserError, match="is no folder; expected FOLDER or NAME=FOLDER"):
        load_extractor(spec)


def test_a_folder_whose_name_does_not_serve(copy):
    folder = copy.rename(copy.parent / "my model")
    with pytest.raises(UserError, match="name it by NAME=FOLDER"):
        load_extractor(str(folder))
    assert load_extractor(f"mine={folder}").name == "mine"


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_folder_that_lacks_a_file(copy, file):
    (copy / file).unlink()
    with pytest.raises(UserError, match=f"it has no {file}"):
        load_extractor(str(copy))


@pytest.mark.parametrize(
    "file, content",
    [
        ("config.json", "{"),
        ("config.json", '{"model_type": "nothing-known"}'),
        ("preprocessor_config.json", "{"),
        ("model.safetensors", "no tensors"),
        ("model.safetensors", None),
    ],
)
def test_a_folder_that_cannot_be_read(copy, file, content):
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_text(content)
    with pytest.raises(UserError, match="cannot be loaded as a pretrained") as caught:
        load_extractor(str(copy))
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "hidden_size": 32}))
    with pytest.raises(UserError, match="cannot be loaded as a pretrained"):
        load_extractor(str(copy))


def test_missing_weights_are_refused_and_not_drawn_at_random(copy):
    tensors = load_file(copy / "model.safetensors")
    del tensors["layernorm.bias"]
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="lacks 1 weights .* 'layernorm.bias'"):
        load_extractor(str(copy))


def test_a_model_of_text_is_refused(copy):
    config = dict(VISION, vocab_size=32)
    transformers.BertModel(transformers.BertConfig(**config)).save_pretrained(copy)
    with pytest.raises(UserError, match="no image model: BertModel takes 'input_ids'"):
        load_extractor(str(copy))


def test_a_model_that_pools_nothing_is_refused_when_loaded(copy):
    config = transformers.ViTMAEConfig(**VISION)
    transformers.ViTMAEModel(config).save_pretrained(copy)
    with pytest.raises(UserError, match="ViTMAEModel pools no features"):
        load_extractor(str(copy))


def test_code_in_a_folder_is_not_run(copy):
    (copy / "own.py").write_text(f"open({str(copy / 'ran')!r}, 'w').close()\n")
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    config = {"model_type": "own", "auto_map": own}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot be loaded as a pretrained"):
        load_extractor(str(copy))
    assert not (copy / "ran").exists()
