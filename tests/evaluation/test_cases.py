"""Cases of several shapes."""

import numpy as np

from anchoredit_jax.data.sprites import SpriteView, score_sessions, square_view
from anchoredit_jax.evaluation.cases import score_cases, sprite_cases

VIEWS = (square_view(32), SpriteView((48, 85), (24, 40)))


def test_scores_of_several_views_keep_their_rows(sessions):
    cases = sprite_cases(sessions, VIEWS)
    frames = [case.read_truth()[:-1] for case in cases]  # every instruction ignored
    together = score_cases(cases, frames)
    for row, case in enumerate(cases):
        alone = score_sessions([case.sprite], frames[row][None], case.view)
        for name in ("kinds", "success", "edit_psnr", "slots", "subject_psnr"):
            np.testing.assert_array_equal(
                getattr(together, name)[row], getattr(alone, name)[0], name
            )
