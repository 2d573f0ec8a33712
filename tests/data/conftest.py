"""Every test decodes into a cache of its own."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("CNNJAX_CACHE", str(folder))
    return folder


@pytest.fixture
def real_data():
    """Where real tensorflow-datasets lie, if they do."""
    beside = Path(__file__).parents[3] / "shared" / "data" / "tensorflow_datasets"
    folder = Path(os.environ.get("CNNJAX_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real datasets: set CNNJAX_TEST_DATA to a directory of tensorflow-datasets")
    return folder
