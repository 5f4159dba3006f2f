import pytest

from anchoredit_jax.stages.table import STAGES
from tests.training.fake_stages import add_fake_stages


@pytest.fixture
def fake_stages(monkeypatch):
    """The table of stages with `fake_first` and `fake_second` in it."""
    added = dict(STAGES)
    add_fake_stages(added)
    for name, module in added.items():
        monkeypatch.setitem(STAGES, name, module)
    return STAGES
