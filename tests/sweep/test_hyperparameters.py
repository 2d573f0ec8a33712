"""The search of the documentation: a cell is a trainable of Ray Tune, and the same trial again trains nothing."""

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from cnnjax.runs import read_config
from cnnjax.training import TrainConfig

ROOT = Path(__file__).parents[2]
pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[tune]'")
pytest.importorskip("pyarrow", reason="Ray Tune wants pyarrow: pip install -e '.[tune]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture
def code():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "hyperparameters.md").read_text(), flags=re.DOTALL)
    return code


def test_the_trainable_of_the_documentation_trains_once(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "search"}
    exec(compile(code, "search.py", "exec"), names)
    names["TRAIN"] = TrainConfig(epochs=1)
    options = {"learning_rate": 0.05, "crop": 1}
    first = names["trial"](options)
    assert 0 < first["accuracy"] <= 1
    assert names["trial"](options) == first
    assert "[1/1] cell: finished earlier" in capsys.readouterr().err
    (run,) = (tmp_path / "search" / "search").iterdir()
    assert read_config(run)["config"] == options


@pytest.mark.slow
def test_the_search_of_the_documentation_prints_the_best(code, tmp_path):
    (tmp_path / "search.py").write_text(code.replace("epochs=4", "epochs=1"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CNNJAX_CACHE": str(tmp_path / "cache"),
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(
        [sys.executable, "search.py", "2"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\{'learning_rate': 0\.\d+, 'crop': [012]\} 0\.\d+", done.stdout.splitlines()[-1])
    assert len([*(tmp_path / "search" / "search").iterdir()]) == 2
