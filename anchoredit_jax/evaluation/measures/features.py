"""Similarity of images in the eyes of a pretrained network, by any extractor."""

from typing import Protocol

import numpy as np

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.measures.describe import describe_features
from anchoredit_jax.evaluation.measures.inputs import check_images


class FeatureExtractor(Protocol):
    """One vector an image, such that like images have vectors of a like direction.

    Attributes:
      name: what its measures are called after.
    """

    name: str

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [n, H, W, 3] -> float32 [n, D], row by row."""
        ...


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
        source.name: _cosine(features[1:], features[:1]),
        previous.name: _cosine(features[1:], features[:-1]),
    }


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of rows [n, D] and rows [n or 1, D]: [n]."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    unknown = np.full(lengths.shape, np.nan)
    cosine = np.divide((a * b).sum(-1), lengths, out=unknown, where=lengths > 0)
    return cosine.clip(-1.0, 1.0)
