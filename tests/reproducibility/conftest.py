from tests.stages.conftest import fake_stages  # noqa: F401
