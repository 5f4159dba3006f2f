"""Returns to an earlier state, against the session's own frames."""

import numpy as np
import pytest

from anchoredit_jax.data.pixel_error import MAX_PSNR
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.measures import return_measures


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)


def test_a_return_is_compared_with_the_frame_it_goes_back_to(frames):
    frames[3] = frames[1]  # a perfect return
    frames[4] = frames[0] ^ 16  # one that is off
    found = return_measures(frames, (None, None, 1, 0))
    assert np.isnan(found["return_psnr"][:2]).all()
    assert found["return_psnr"][2] == MAX_PSNR
    assert found["return_psnr"][3] == pytest.approx(20 * np.log10(255 / 16), abs=1e-4)
    assert found["return_ssim"][2] == pytest.approx(1.0)
    assert 0.5 < found["return_ssim"][3] < 0.999


def test_every_turn_needs_an_entry(frames):
    with pytest.raises(UserError, match="each of 4 turns, got 2"):
        return_measures(frames, (None, 0))
