"""The names of the package itself: there, loaded late, and short to look at."""

import subprocess
import sys

import pytest

import anchoredit_jax
from anchoredit_jax.checkpoint.assets import Weights
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.testing import tiny_run


def test_all_of_them_are_listed_and_there():
    assert {"Editor", "evaluate", "load_config", "load_editor", "run_stage"} <= set(
        dir(anchoredit_jax)
    )
    for name in anchoredit_jax.__all__:
        assert getattr(anchoredit_jax, name) is not None
    with pytest.raises(AttributeError, match="load_editr"):
        _ = anchoredit_jax.load_editr


def test_the_package_alone_loads_no_jax():
    code = "import sys, anchoredit_jax; print('jax' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout == "False\n"


def test_weights_are_told_in_a_line():
    lineage = Lineage("single_turn", 500, "ab12", {})
    weights = Weights({"w": list(range(10_000))}, tiny_run("single_turn"), lineage)
    assert repr(weights) == "<Weights single_turn@500 (ab12)>"
