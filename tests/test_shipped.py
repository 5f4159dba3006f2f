"""Configurations that come along are found from anywhere, and hide nobody's modules."""

import logging
import sys
import types

import pytest

from anchoredit_jax import shipped
from anchoredit_jax.config import load_config
from anchoredit_jax.errors import UserError

SPEC = "configs/sprites.py:stage=single_turn,steps=7"


def test_a_configuration_is_found_away_from_the_clone(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    # A project with modules of this name of its own, imported and first on the path.
    own = tmp_path / "configs"
    own.mkdir()
    (own / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    for name in [name for name in sys.modules if name.startswith("configs.")]:
        monkeypatch.delitem(sys.modules, name)  # the clone's, of other tests
    monkeypatch.setitem(sys.modules, "configs", types.ModuleType("configs"))
    monkeypatch.syspath_prepend(str(tmp_path))
    before, path = sys.modules["configs"], sys.path[:]
    with caplog.at_level(logging.WARNING):
        assert load_config(SPEC).loop.steps == 7
    assert f"taken: {shipped.root() / 'configs' / 'sprites.py'}" in caplog.text
    assert sys.modules["configs"] is before and sys.path == path
    assert "configs.recipe" not in sys.modules


def test_a_file_here_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    mine = "def get_config(arg):\n    return dict(stage='my_stage')\n"
    (tmp_path / "configs" / "sprites.py").write_text(mine)
    with pytest.raises(UserError, match="my_stage"):
        load_config("configs/sprites.py")


@pytest.mark.parametrize(
    "path", ["configs/none.py", "sprites.py", "configs/../setup.py", "launch/edit.py"]
)
def test_nothing_else_is_found(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"not exist.*configs/sprites.py, .*wan_14b"):
        load_config(path)


def test_those_that_come_along_are_listed():
    listed = shipped.configurations()
    assert {"configs/sprites.py", "configs/sessions.py"} <= set(listed)
    assert "configs/recipe.py" not in listed  # what they share is none itself
