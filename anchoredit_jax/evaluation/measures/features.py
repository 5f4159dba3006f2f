"""Similarity of images in the eyes of a pretrained network, by any extractor.

Extractors that `transformers` loads from a folder come with it: DINOv2, CLIP, ...
"""

import importlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anchoredit_jax.data.pixel_error import check_images
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.table import Measure

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
FILES = ("config.json", "preprocessor_config.json")
TOKENIZERS = ("tokenizer.json", "vocab.json")
BATCH = 16  # images

log = logging.getLogger(__name__)


class FeatureExtractor(Protocol):
    """Makes one vector of an image; like images have vectors of a like direction.

    One that reads texts as well has `texts`: n texts -> float32 [n, D], vectors of a
    like direction as those of the images that they describe.

    Attributes:
      name: what its measures are called after.
    """

    name: str

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [n, H, W, 3] -> float32 [n, D], row by row."""
        ...


def describe_features(name: str) -> tuple[Measure, Measure]:
    """The measures that `feature_measures` makes of the extractor of that name."""
    return (
        Measure(f"{name}_source", f"{name} similarity to the source", "", True),
        Measure(f"{name}_previous", f"{name} similarity to the turn before", "", True),
    )


def feature_measures(
    extractor: FeatureExtractor, frames: np.ndarray
) -> dict[str, np.ndarray]:
    """Cosine similarity of every turn to the source and to the turn before.

    Args:
      frames: uint8 [N + 1, H, W, 3], the source first.

    Returns:
      {"<name>_source", "<name>_previous"}: float64 [N] in [-1, 1]; NaN where one of
      the two vectors is zero.

    Raises:
      UserError: `frames` are not such images, no turn follows the source, or the
        extractor gives anything but a vector an image.
    """
    check_images(frames, "frames", at_least=2)
    features = np.asarray(extractor(frames), np.float64)
    if features.ndim != 2 or len(features) != len(frames):
        raise UserError(
            f"extractor {extractor.name!r} must give a vector for each of "
            f"{len(frames)} images, got an array of {list(features.shape)}"
        )
    source, previous = describe_features(extractor.name)
    return {
        source.name: cosine(features[1:], features[:1]),
        previous.name: cosine(features[1:], features[:-1]),
    }


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of the angles between rows [n, D] and rows [n or 1, D]: [n], NaN where
    one of the two is zero."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    unknown = np.full(lengths.shape, np.nan)
    cosine = np.divide((a * b).sum(-1), lengths, out=unknown, where=lengths > 0)
    return cosine.clip(-1.0, 1.0)


def check_names(extractors: Sequence[FeatureExtractor]) -> None:
    """Refuse extractors whose measures would have the same names.

    Raises:
      UserError: two share a name.
    """
    names = [extractor.name for extractor in extractors]
    if len(set(names)) < len(names):
        raise UserError(
            f"two extractors share a name ({', '.join(names)}): name them, as in "
            "small=FOLDER"
        )


def load_extractor(spec: str, batch: int = BATCH) -> "PretrainedExtractor":
    """An extractor out of a folder that `save_pretrained` wrote or a hub's snapshot is.

    Features are those of CLIP-like models' image tower, after its projection, and of
    other image models what they pool: of DINOv2 the class token after the last norm.
    Nothing is downloaded, and no code out of the folder is run. Computed in float32,
    on a GPU where PyTorch sees one.

    Args:
      spec: "FOLDER" or "NAME=FOLDER"; without a name, that of the folder.
      batch: images computed at a time.

    Raises:
      UserError: PyTorch or transformers is not installed, the folder does not exist or
        lacks a file, or holds no image model, or one with weights missing.
    """
    name, folder = _parse(spec)
    torch, transformers = _libraries()
    for file in FILES:
        if not (folder / file).is_file():
            raise UserError(
                f"{str(folder)!r} holds no pretrained image model: it has no {file} "
                "(a folder as `save_pretrained` of model and image processor writes it)"
            )
    processor, model = _load(transformers, folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = _load_tokenizer(transformers, folder, model)
    model = model.float().to(device)
    extractor = PretrainedExtractor(name, processor, model, batch, tokenizer)
    # So that a model that cannot serve is refused now, not after an evaluation.
    extractor(np.zeros((1, 32, 32, 3), np.uint8))
    return extractor


class PretrainedExtractor:
    """A `FeatureExtractor` made of a model and an image processor of `transformers`.

    Images are resized, cropped and normalised as the folder's preprocessor_config.json
    says. Most crop the centre square, so the ends of a long image are not seen.
    """

    def __init__(
        self,
        name: str,
        processor: Any,
        model: Any,
        batch: int = BATCH,
        tokenizer: Any = None,
    ):
        self.name = name
        self._processor = processor
        self._model = model
        self._batch = batch
        self._tokenizer = tokenizer
        # Of a model that reads texts too, see `FeatureExtractor`.
        self.texts = None if tokenizer is None else self._texts

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [n, H, W, 3] -> float32 [n, D], row by row."""
        check_images(images)
        parts = range(0, len(images), self._batch)
        rows = [self._features(images[i : i + self._batch]) for i in parts]
        return np.concatenate(rows)

    def _features(self, images: np.ndarray) -> np.ndarray:
        import torch

        inputs = self._processor(
            images=list(images), input_data_format="channels_last", return_tensors="pt"
        )
        pixels = inputs["pixel_values"].to(self._model.device)
        tower = getattr(self._model, "get_image_features", self._model)
        with torch.no_grad():
            output = tower(pixel_values=pixels)
        # CLIP's tower gives the tensor itself in transformers before 5.
        pooled = output if torch.is_tensor(output) else output.get("pooler_output")
        if pooled is None and _is_plain_vit(self._model):
            pooled = output["last_hidden_state"][:, 0]
        if pooled is None:
            raise UserError(
                f"extractor {self.name!r}: {type(self._model).__name__} pools no "
                "features of an image; use a model that does, such as DINOv2 or CLIP"
            )
        return pooled.flatten(1).cpu().numpy()

    def _texts(self, texts: Sequence[str]) -> np.ndarray:
        """n texts -> float32 [n, D]; what is beyond the model's length is cut off."""
        import torch

        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, return_tensors="pt"
        ).to(self._model.device)
        with torch.no_grad():
            output = self._model.get_text_features(**tokens)
        pooled = output if torch.is_tensor(output) else output.get("pooler_output")
        return pooled.flatten(1).cpu().numpy()


def _parse(spec: str) -> tuple[str, Path]:
    name, equals, folder = spec.partition("=")
    if not equals or not NAME.fullmatch(name):  # "=" may be part of a folder's path
        name, folder = Path(spec).resolve().name, spec
    path = Path(folder)
    if not folder or not path.is_dir():
        raise UserError(
            f"feature extractor {spec!r}: {folder!r} is no folder; expected FOLDER or "
            "NAME=FOLDER, the folder of a pretrained image model"
        )
    if not NAME.fullmatch(name):
        raise UserError(
            f"feature extractor {spec!r}: name it by NAME=FOLDER, with letters, "
            f"digits, '_', '-' and '.'; the folder's own name {name!r} does not serve"
        )
    return name, path


def _libraries():
    try:
        torch = importlib.import_module("torch")
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise UserError(
            f"feature extractors need PyTorch and transformers ({error}): pip install "
            "'anchoredit_jax[torch]'"
        ) from error
    return torch, transformers


def _load(transformers: Any, folder: Path) -> tuple[Any, Any]:
    """(image processor, model), or a `UserError` of one line."""
    safetensors = importlib.import_module("safetensors")
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, **local, **_by_pillow(transformers.__version__)
        )
        model, info = transformers.AutoModel.from_pretrained(
            folder, **local, output_loading_info=True
        )
    except (
        *(OSError, ValueError, RuntimeError, ImportError, LookupError),
        safetensors.SafetensorError,
    ) as error:
        line = " ".join(str(error).split())
        raise UserError(
            f"{str(folder)!r} cannot be loaded as a pretrained image model: {line}"
        ) from error
    images = hasattr(model, "get_image_features")
    if not images and model.main_input_name != "pixel_values":
        raise UserError(
            f"{str(folder)!r} holds no image model: {type(model).__name__} takes "
            f"{model.main_input_name!r}"
        )
    missing = sorted(info["missing_keys"])
    if _is_plain_vit(model) and all(name.startswith("pooler.") for name in missing):
        # DINO's ViT has no pooler: its class token serves, as DINO's own code has it.
        model.pooler, missing = None, []
    if missing:
        # transformers fills them with random values, and features would mean nothing.
        raise UserError(
            f"{str(folder)!r} lacks {len(missing)} weights of {type(model).__name__}, "
            f"such as {missing[0]!r}"
        )
    return processor, model


def _is_plain_vit(model: Any) -> bool:
    return model.config.model_type == "vit"


def _load_tokenizer(transformers: Any, folder: Path, model: Any) -> Any:
    """Of a model that reads texts too; None, told, where the folder has none."""
    if not hasattr(model, "get_text_features"):
        return None
    if not any((folder / file).is_file() for file in TOKENIZERS):
        log.warning(
            "%s has no tokenizer (%s): images are not compared with their captions",
            folder, " or ".join(TOKENIZERS),
        )  # fmt: skip
        return None
    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError, ImportError, LookupError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"the tokenizer in {str(folder)!r}: {line}") from error


def _by_pillow(version: str) -> dict[str, Any]:
    """Pillow resizes even where torchvision is installed: one folder, one number."""
    backends = tuple(int(part) for part in version.split(".")[:2]) >= (5, 4)
    return {"backend": "pil"} if backends else {"use_fast": False}
