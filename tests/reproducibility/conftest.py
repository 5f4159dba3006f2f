import pytest

from tests.training.conftest import fake_stages  # noqa: F401


@pytest.fixture(autouse=True)
def each_run_compiles(compiled_anew):
    """A run that is repeated here repeats its compilations too."""
