import numpy as np

from anchoredit_jax.watching.thinning import smooth, thin


def noise(count):
    x = np.linspace(0, 1, count)
    return x, np.random.default_rng(0).normal(size=count)


def test_of_every_column_the_extremes_stay_and_of_the_curve_its_ends():
    x, y = noise(100_000)
    kept = thin(x, y, 240)
    assert len(kept) <= 2 * 240 + 2 and kept[0] == 0 and kept[-1] == len(x) - 1
    assert (np.diff(kept) > 0).all()
    column = np.minimum((x * 240).astype(int), 239)
    for one in range(240):
        all_of, some = y[column == one], y[kept[column[kept] == one]]
        assert some.min() == all_of.min() and some.max() == all_of.max()


def test_it_is_the_same_every_time_and_keeps_a_single_peak():
    x, y = noise(10_000)
    y[1234] = 50.0
    kept = thin(x, y, 100)
    assert 1234 in kept
    np.testing.assert_array_equal(kept, thin(x.copy(), y.copy(), 100))
    equal = thin(x, np.zeros(10_000), 100)  # where all are the least
    np.testing.assert_array_equal(equal, thin(x, np.zeros(10_000), 100))


def test_a_short_curve_stays_whole():
    for count in (1, 2, 7):
        x, y = noise(count)
        np.testing.assert_array_equal(thin(x, y, 240), np.arange(count))
        np.testing.assert_allclose(smooth(x, y, 240), (x, y))


def test_the_smooth_line_is_the_mean_of_what_is_around():
    x, y = noise(64_000)
    across, mean = smooth(x, 3 + y, 640)
    assert len(across) == 640 and (np.diff(across) > 0).all()
    np.testing.assert_allclose(mean[300], (3 + y)[28_000:32_100].mean(), atol=2e-3)
    # At the ends fewer are around; none of them is taken for zero.
    assert np.abs(mean - 3).max() < 0.1
    # A greater number hides none of the later ones.
    y[100] = 1e25
    assert np.abs(smooth(x, y, 640)[1][50:]).max() < 1
