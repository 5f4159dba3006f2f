"""What an edited session looks like, turn after turn: numbers of its decoded images."""

from anchoredit_jax.evaluation.measures.codec_error import RoundTrip, codec_error
from anchoredit_jax.evaluation.measures.describe import (
    MEASURES,
    RETURNS,
    Measure,
    describe_features,
)
from anchoredit_jax.evaluation.measures.drift import identity_drift
from anchoredit_jax.evaluation.measures.features import (
    FeatureExtractor,
    feature_measures,
)
from anchoredit_jax.evaluation.measures.pretrained import load_extractor
from anchoredit_jax.evaluation.measures.returns import return_measures
from anchoredit_jax.evaluation.measures.session import measure_session
from anchoredit_jax.evaluation.measures.ssim import ssim

__all__ = [
    "MEASURES",
    "RETURNS",
    "FeatureExtractor",
    "Measure",
    "RoundTrip",
    "codec_error",
    "describe_features",
    "feature_measures",
    "identity_drift",
    "load_extractor",
    "measure_session",
    "return_measures",
    "ssim",
]
