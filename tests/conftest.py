"""Strictness for every test: no silent promotion, several devices, programs compiled once, caches of its own."""

import os
from pathlib import Path

# A program of the tests runs a few times: most optimisations would cost more than they save. Not level 0: there a value
# that is computed twice may differ in its last digit, which on the CPU was not seen at level 1 or the compiler's own.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=1")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import jaxtyping
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Workers do not share one: a file that one of them is writing is not whole.
COMPILED = Path(__file__).parent.parent / ".pytest_cache" / "compiled" / os.environ.get("PYTEST_XDIST_WORKER", "alone")
jax.config.update("jax_compilation_cache_dir", str(COMPILED))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Decoded data of a test is not found by the next, nor in the user's own cache."""
    monkeypatch.setenv("CNNJAX_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def without_type_checks():
    """Users run without the checks of argument types that tests add, so the library's own errors are what they meet."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
