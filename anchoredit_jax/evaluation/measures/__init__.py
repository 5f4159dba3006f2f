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
from anchoredit_jax.evaluation.measures.targets import (
    TARGETS,
    describe_targets,
    target_distances,
    target_features,
)

__all__ = [
    "MEASURES",
    "RETURNS",
    "TARGETS",
    "TONE",
    "FeatureExtractor",
    "check_names",
    "describe_features",
    "describe_targets",
    "feature_measures",
    "identity_drift",
    "load_extractor",
    "measure_session",
    "return_measures",
    "ssim",
    "target_distances",
    "target_features",
]
