"""Cosines of features, whatever made the features."""

import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.measures import feature_measures

RED, GREEN, GREY, BLACK = [200, 0, 0], [0, 90, 0], [60, 60, 60], [0, 0, 0]


class MeanColour:
    name = "colour"

    def __call__(self, images):
        return images.mean((1, 2), dtype=np.float32)


def frames(*colours):
    return np.array(colours, np.uint8)[:, None, None].repeat(4, 1).repeat(6, 2)


def test_cosines_to_the_source_and_to_the_turn_before():
    values = feature_measures(MeanColour(), frames(RED, RED, GREEN, GREEN, GREY))
    assert list(values) == ["colour_source", "colour_previous"]
    third = 3**-0.5
    np.testing.assert_allclose(values["colour_source"], [1, 0, 0, third], atol=1e-7)
    np.testing.assert_allclose(values["colour_previous"], [1, 0, 1, third], atol=1e-7)
    assert values["colour_source"].dtype == np.float64


def test_a_vector_of_zeros_has_no_direction():
    values = feature_measures(MeanColour(), frames(RED, BLACK, RED))
    np.testing.assert_array_equal(values["colour_source"], [np.nan, 1])
    assert np.isnan(values["colour_previous"]).all()


def test_an_extractor_that_does_not_give_a_vector_an_image_is_refused():
    class Flat(MeanColour):
        def __call__(self, images):
            return images.mean((1, 2, 3))

    with pytest.raises(UserError, match="'colour' must give a vector for each of 2"):
        feature_measures(Flat(), frames(RED, RED))


def test_a_source_alone_is_refused():
    with pytest.raises(UserError, match="n at least 2"):
        feature_measures(MeanColour(), frames(RED))
