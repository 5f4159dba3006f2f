"""Every test runs on a CPU that JAX sees as eight devices, and under strict rules."""

import gc
import os
from importlib.metadata import version
from pathlib import Path

os.environ["JAX_PLATFORMS"] = os.environ.get("ANCHOREDIT_TEST_PLATFORM", "cpu")
# Eight devices, so that sharded code is tested on every laptop. No LLVM passes, no
# generated kernels: tests compile far longer than they run.
_FLAGS = [
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
]
if version("jax").startswith("0.10."):  # later ones abort: they do not know them all
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
    # One module a program: cutting it into 32 costs a fifth of a compilation.
    _FLAGS.append("--xla_cpu_parallel_codegen_split_count=1")
for _flag in _FLAGS:
    if _flag.partition("=")[0] not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_flag}".strip()

import jax  # noqa: E402  (the flags above are read when jax is imported)
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from jax.experimental.compilation_cache import compilation_cache  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
if os.environ["JAX_PLATFORMS"] == "cpu":
    # What one test or worker compiled, the others load. Not so the processes that tests
    # start: some are killed while they write, and TPU programs cannot be loaded here.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    jax.config.update("jax_enable_compilation_cache", True)
    _PROGRAMS = Path(__file__).resolve().parents[1] / ".pytest_cache" / "programs"
    jax.config.update("jax_compilation_cache_dir", str(_PROGRAMS))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# Shapes and types in the signatures of these rooms are checked at every call; installed
# before anything of the package is imported.
import tests.checked  # noqa: E402, F401  (found by the hook)

_TYPED = ("models", "diffusion", "memory", "turn", "stages", "arrays", "randomness")
jaxtyping.install_import_hook(
    [f"anchoredit_jax.{room}" for room in _TYPED], "tests.checked.checked"
)

from anchoredit_jax.stages.table import STAGES  # noqa: E402  (under the rules above)

# Tracing makes many small objects that live on; looking through them for garbage as
# often as Python does by itself is a tenth of the suite's time.
gc.freeze()
gc.set_threshold(100_000, 20, 20)

# Files of minutes go first: the core that gets one last works while the others idle.
LONGEST = {
    *("test_rehearsal", "test_plan", "test_hosts", "test_battery", "test_kill"),
    *("test_resume", "test_stages", "test_sharded_steps", "test_accumulation"),
    *("test_dtypes_of_states", "test_round_trip", "test_takeovers"),
}


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(autouse=True)
def same_stages():
    """Configuration files of tests add stages of their own to this process's table."""
    before = dict(STAGES)
    yield
    STAGES.clear()
    STAGES.update(before)


@pytest.fixture
def compiled_anew():
    """For runs whose bits are compared: each compiles its programs itself."""
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # or JAX goes by what it found at first
    yield
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()
