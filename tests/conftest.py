"""Every test runs on a CPU that JAX sees as eight devices, and under strict rules."""

import os
from importlib.metadata import version

os.environ["JAX_PLATFORMS"] = os.environ.get("ANCHOREDIT_TEST_PLATFORM", "cpu")
# Eight devices, so that sharded code is tested on every laptop. No LLVM passes, no
# generated kernels: tests compile far longer than they run.
_FLAGS = [
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
]
if version("jax").startswith("0.10."):  # later ones abort: they do not know it
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
for _flag in _FLAGS:
    if _flag.partition("=")[0] not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_flag}".strip()

import jax  # noqa: E402  (the flags above are read when jax is imported)
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Shapes and types in the signatures of these rooms are checked at every call; installed
# before anything of the package is imported.
import tests.checked  # noqa: E402, F401  (found by the hook)

_TYPED = ("models", "diffusion", "memory", "turn", "arrays", "randomness")
jaxtyping.install_import_hook(
    [f"anchoredit_jax.{room}" for room in _TYPED], "tests.checked.checked"
)

from anchoredit_jax.stages import STAGES  # noqa: E402  (under the rules above)


@pytest.fixture(autouse=True)
def same_stages():
    """Configuration files of tests add stages of their own to this process's table."""
    before = dict(STAGES)
    yield
    STAGES.clear()
    STAGES.update(before)
