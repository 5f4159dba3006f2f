"""The metrics of published benchmarks against plain PyTorch."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.measures import (
    describe_targets,
    load_extractor,
    target_distances,
    target_features,
)
from tests.evaluation.measures.test_pretrained import VISION, pixels_of, save

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

RNG = np.random.default_rng(5)
RESULTS = RNG.integers(0, 256, (3, 32, 40, 3), np.uint8)
TARGETS = [
    RNG.integers(0, 256, (*size, 3), np.uint8)
    for size in ((64, 80), (32, 40), (30, 48))
]
CAPTIONS = ("a cat", None, "a dog in a hat")


def as_tensor(image):
    """Values in [0, 1], channels first."""
    return torch.tensor(np.array(image), dtype=torch.float32).permute(2, 0, 1) / 255


def test_distances_are_those_of_torch():
    found = target_distances(RESULTS, TARGETS)
    for name, loss in (("l1", torch.nn.L1Loss()), ("l2", torch.nn.MSELoss())):
        expected = []
        for result, target in zip(RESULTS, TARGETS, strict=True):
            right = Image.fromarray(target)
            resized = Image.fromarray(result).resize(right.size)  # Pillow's default
            expected.append(loss(as_tensor(resized), as_tensor(right)).item())
        np.testing.assert_allclose(found[name], expected, atol=1e-6)
    same = target_distances(RESULTS[1:2], [RESULTS[1]])
    assert same["l1"] == same["l2"] == 0


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A random CLIP that reads letters."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("models") / "clip-tiny"
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    size = len(words)
    text = dict(VISION, vocab_size=size, bos_token_id=size - 2, eos_token_id=size - 1)
    config = transformers.CLIPConfig(
        text_config=text, vision_config=VISION, projection_dim=8
    )
    model = save(transformers.CLIPModel(config), folder)
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    return model, folder, vocabulary


def tokens(text, vocabulary):
    """Letters by hand: the last one of a word is another token."""
    ids = [vocabulary["<|startoftext|>"]]
    for word in text.split():
        ids += [vocabulary[letter] for letter in word[:-1]]
        ids.append(vocabulary[f"{word[-1]}</w>"])
    return torch.tensor([[*ids, vocabulary["<|endoftext|>"]]])


def vector(output):
    return (output if torch.is_tensor(output) else output.pooler_output)[0]


def close(found, pairs):
    expected = [
        torch.nn.functional.cosine_similarity(a, b, dim=0).item() for a, b in pairs
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_clip_i_and_clip_t_are_those_of_torch(clip):
    model, folder, vocabulary = clip
    found = target_features(
        load_extractor(f"clip={folder}"), RESULTS, TARGETS, CAPTIONS
    )
    with torch.no_grad():
        made, right = (
            [
                vector(model.get_image_features(pixel_values=pixels_of(folder, image)))
                for image in images
            ]
            for images in (RESULTS, TARGETS)
        )
        said = [
            vector(model.get_text_features(input_ids=tokens(text, vocabulary)))
            for text in CAPTIONS
            if text is not None
        ]
    close(found["clip_target"], zip(made, right, strict=True))
    close(found["clip_caption"][[0, 2]], zip((made[0], made[2]), said, strict=True))
    close(found["clip_oracle"][[0, 2]], zip((right[0], right[2]), said, strict=True))
    assert np.isnan(found["clip_caption"][1]) and np.isnan(found["clip_oracle"][1])


@pytest.mark.parametrize("kind", ["dinov2", "vit"])
def test_dino_is_that_of_torch(tmp_path, kind):
    """The class token after the last norm, of either generation of DINO."""
    torch.manual_seed(4)
    if kind == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(**VISION))
    else:  # as DINO's are stored, without a pooler
        config = transformers.ViTConfig(**VISION)
        model = transformers.ViTModel(config, add_pooling_layer=False)
    save(model, tmp_path)
    found = target_features(load_extractor(f"dino={tmp_path}"), RESULTS, TARGETS)
    with torch.no_grad():
        made, right = (
            [
                model(pixel_values=pixels_of(tmp_path, image)).last_hidden_state[0, 0]
                for image in images
            ]
            for images in (RESULTS, TARGETS)
        )
    close(found["dino_target"], zip(made, right, strict=True))
    assert np.isnan(found["dino_caption"]).all()  # it reads no texts


def test_a_clip_without_a_tokenizer_is_told(clip, tmp_path, caplog):
    model, _, _ = clip
    save(model, tmp_path)
    found = target_features(
        load_extractor(f"clip={tmp_path}"), RESULTS, TARGETS, CAPTIONS
    )
    assert "has no tokenizer" in caplog.text
    assert np.isnan(found["clip_caption"]).all()
    assert not np.isnan(found["clip_target"]).any()


def test_names_are_those_of_the_field():
    titles = {
        name: [measure.title for measure in describe_targets(name)]
        for name in ("clip", "dino", "clip-l14", "siglip")
    }
    assert titles["clip"] == ["CLIP-I", "CLIP-T", "CLIP-T of the target"]
    assert titles["dino"][0] == "DINO"
    assert titles["clip-l14"][:2] == ["CLIP-I (clip-l14)", "CLIP-T (clip-l14)"]
    assert titles["siglip"][0] == "image similarity (siglip)"


def test_a_target_for_every_result():
    with pytest.raises(UserError, match="a target for each of 3 results, got 2"):
        target_distances(RESULTS, TARGETS[:2])


def test_the_preprocessing_that_the_page_tells_is_the_published_one(tmp_path):
    """Shorter side 256 by Pillow's bicubic, centre 224, mean and deviation of ImageNet;
    the class token of a ViT without a pooler."""
    torch.manual_seed(6)
    config = transformers.ViTConfig(**{**VISION, "image_size": 224, "patch_size": 56})
    model = save(transformers.ViTModel(config, add_pooling_layer=False), tmp_path)
    page = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text()
    told = page[page.index('{"image_processor_type"') :]
    values, _ = json.JSONDecoder().raw_decode(told)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    found = load_extractor(f"dino={tmp_path}")(RESULTS[:1])[0]
    height, width = 256, int(256 * 40 / 32)
    resized = Image.fromarray(RESULTS[0]).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    left, top = (width - 224) // 2, (height - 224) // 2
    pixels = as_tensor(resized.crop((left, top, left + 224, top + 224)))
    mean, deviation = (
        torch.tensor(one)[:, None, None]
        for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    with torch.no_grad():
        expected = model(pixel_values=((pixels - mean) / deviation)[None])
    np.testing.assert_allclose(found, expected.last_hidden_state[0, 0], atol=1e-5)
