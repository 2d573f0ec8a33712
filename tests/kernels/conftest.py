"""Kernels for maps of any size: those of the tests are far below the size from which they pay."""

import pytest

from cnnjax import runtime
from cnnjax.kernels import choice, trial


@pytest.fixture(autouse=True)
def _kernels_everywhere(monkeypatch):
    monkeypatch.setattr(choice, "_LEAST_OPERATIONS", 0)
    monkeypatch.setattr(choice, "_LEAST_NUMBERS", 0)
    monkeypatch.setattr(runtime, "_kernels", None)
    monkeypatch.delenv("CNNJAX_KERNELS", raising=False)
    if not trial.ready():
        pytest.skip("no kernels for this processor")
