"""Conversion at published size stays within its memory."""

import pytest

from benchmarks.convert import benchmark_convert


@pytest.mark.slow
def test_a_model_of_1_3b_passes_through_less_than_itself(tmp_path):
    for name, cost in benchmark_convert(tmp_path).items():
        print(f"{name}: peak {cost.peak / 2**30:.2f} of {cost.bound / 2**30:.2f} GiB")
        assert cost.peak < cost.bound, name
    assert not list(tmp_path.iterdir())


def test_a_small_one_is_measured_alike(tmp_path):
    costs = benchmark_convert(tmp_path, "tiny")
    assert set(costs) == {"import", "export"}
    for cost in costs.values():
        assert 0 < cost.peak and 0 < cost.seconds and 2**30 < cost.bound
