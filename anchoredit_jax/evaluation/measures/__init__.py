"""How well one session goes, turn by turn: fidelity, drift, tone, returns, features."""

from anchoredit_jax.evaluation.measures.features import (
    FeatureExtractor,
    check_names,
    describe_features,
    feature_measures,
    load_extractor,
)
from anchoredit_jax.evaluation.measures.session import (
    MEASURES,
    RETURNS,
    TONE,
    identity_drift,
    measure_session,
    return_measures,
)
from anchoredit_jax.evaluation.measures.ssim import ssim

__all__ = [
    "MEASURES",
    "RETURNS",
    "TONE",
    "FeatureExtractor",
    "check_names",
    "describe_features",
    "feature_measures",
    "identity_drift",
    "load_extractor",
    "measure_session",
    "return_measures",
    "ssim",
]
