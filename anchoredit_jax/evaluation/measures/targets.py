"""The metrics of published editing benchmarks: results against their targets.

L1 and L2 as in MagicBrush's evaluation: the result is resized to the target's size, and
values lie in [0, 1]. CLIP-I, DINO and CLIP-T are cosines of an extractor's features of
the result and of the target, or of the target's caption.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.measures.features import FeatureExtractor, cosine
from anchoredit_jax.evaluation.table import Measure

TARGETS = (
    Measure("l1", "L1 to the target", "", False),
    Measure("l2", "L2 to the target", "", False),
)


def describe_targets(name: str) -> tuple[Measure, Measure, Measure]:
    """The measures that `target_features` makes of the extractor of that name, called
    as the field does where the name begins with "clip" or "dino"."""
    kind = next(
        (kind for kind in ("clip", "dino") if name.lower().startswith(kind)), ""
    )
    of = "" if name.lower() == kind else f" ({name})"
    image = {"clip": "CLIP-I", "dino": "DINO"}.get(kind, "image similarity") + of
    text = ("CLIP-T" if kind == "clip" else "text similarity") + of
    return (
        Measure(f"{name}_target", image, "", True),
        Measure(f"{name}_caption", text, "", True),
        # What the right image itself reaches; no model is better or worse by it.
        Measure(f"{name}_oracle", f"{text} of the target", "", None),
    )


def target_distances(
    results: np.ndarray, targets: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Mean absolute and mean squared difference of every turn to its target.

    Args:
      results: uint8 [N, H, W, 3].
      targets: N images uint8 [H', W', 3], of sizes of their own; results are resized to
        these (bicubic).

    Returns:
      {"l1", "l2"}: float64 [N], of values in [0, 1].

    Raises:
      UserError: there is not one target a result.
    """
    _check(results, targets)
    found = []
    for result, target in zip(results, targets, strict=True):
        height, width = target.shape[:2]
        resized = Image.fromarray(result).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        difference = (np.asarray(resized, np.float64) - target) / 255
        found.append((np.abs(difference).mean(), np.square(difference).mean()))
    l1, l2 = np.array(found).T
    return {"l1": l1, "l2": l2}


def target_features(
    extractor: FeatureExtractor,
    results: np.ndarray,
    targets: Sequence[np.ndarray],
    captions: Sequence[str | None] = (),
) -> dict[str, np.ndarray]:
    """Cosines of every turn to its target and, where the extractor reads texts, to the
    target's caption.

    Args:
      results, targets: as of `target_distances`.
      captions: one a turn, None where there is none; () for none at all.

    Returns:
      {"<name>_target", "<name>_caption", "<name>_oracle"}: float64 [N], the last that
      of the target to its caption; NaN where a measure does not apply.

    Raises:
      UserError: there is not one target a result.
    """
    _check(results, targets)
    image, text, oracle = (one.name for one in describe_targets(extractor.name))
    made = np.asarray(extractor(results), np.float64)
    right = np.concatenate([extractor(target[None]) for target in targets])
    right = np.asarray(right, np.float64)
    found = {name: np.full(len(results), np.nan) for name in (image, text, oracle)}
    found[image] = cosine(made, right)
    rows = [row for row, caption in enumerate(captions) if caption is not None]
    read = getattr(extractor, "texts", None)
    if rows and read is not None:
        said = np.asarray(read([captions[row] for row in rows]), np.float64)
        found[text][rows] = cosine(made[rows], said)
        found[oracle][rows] = cosine(right[rows], said)
    return found


def _check(results: np.ndarray, targets: Sequence[np.ndarray]) -> None:
    if len(results) != len(targets):
        raise UserError(
            f"expected a target for each of {len(results)} results, got {len(targets)}"
        )
