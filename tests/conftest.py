"""Strictness for every test: no silent promotion, several devices, nothing kept from one to the next."""

import gc
import os
import sys

os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import jaxtyping
import pytest
from hypothesis import is_hypothesis_test, settings

from tests.type_checks import checked
from tests.xla_flags import xla_flags

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Programs are not kept on disk: no test loads what another one, or a process that was killed, has written.
jax.config.update("jax_enable_compilation_cache", False)


LONG_NOTEBOOKS = (
    "01_convolution_by_hand.ipynb",
    "02_convolution_against_mlp.ipynb",
    "03_pooling_stride_aliasing.ipynb",
    "05_equivariance_and_invariance.ipynb",
    "06_alexnet_and_resnet.ipynb",
    "07_what_a_network_sees.ipynb",
    "08_priors.ipynb",
    "09_your_own.ipynb",
)
"""Half a minute each, or more, which `pytest -m slow` takes."""


def pytest_addoption(pluginmanager):
    """Check types in what is imported from now on; `conftest.py` in folders below, which is read next, imports much."""
    assert not any(name.partition(".")[0] == "cnnjax" for name in sys.modules)
    quick = pluginmanager.get_plugin("pytestconfig").known_args_namespace.markexpr == "not slow"
    jaxtyping.install_import_hook(checked(quick), "beartype.beartype")


def pytest_configure(config):
    """`-m slow` compiles better, checks all types and draws all cases that a test asks for, everything else fewer."""
    quick = config.option.markexpr == "not slow"
    # Once in a run: the workers inherit what the process that starts them has found.
    if "XLA_FLAGS" not in os.environ:
        os.environ["XLA_FLAGS"] = xla_flags(level=0 if quick else 1)
    import tests.drawn_cases  # noqa: F401  which registers the two

    settings.load_profile("quick" if quick else "thorough")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Drawn cases are run again, more of them, by `-m slow`; what takes longest comes first.

    pytest-xdist hands out the files in this order, so that no worker ends with a long one while the other waits.
    """
    if part := os.environ.get("CNNJAX_TESTS_PART"):  # "0/3": the first of three parts, each of whole files
        number, parts = map(int, part.split("/"))
        others = [item for item in items if sum(item.path.name.encode()) % parts != number]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if sum(item.path.name.encode()) % parts == number]
    items.sort(key=lambda item: (item.path.suffix != ".ipynb", "experiments" not in item.path.parts))
    for item in items:
        if item.path.name in LONG_NOTEBOOKS:  # tests/test_documents.py looks for what they use
            item.add_marker(pytest.mark.slow)
    if settings.get_current_profile_name() == "thorough":
        for item in items:
            if is_hypothesis_test(getattr(item, "obj", None)):
                item.add_marker(pytest.mark.slow)


def pytest_collection_finish():
    """What the imports have made stays to the end: the collector need not look at it again, in every test and file."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Decoded data of a test is not found by the next, nor in the user's own cache."""
    monkeypatch.setenv("CNNJAX_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """What a file has compiled goes with it: the programs of all files together are thousands, and gigabytes."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def without_type_checks():
    """Users run without the checks of argument types that tests add, so the library's own errors are what they meet."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
