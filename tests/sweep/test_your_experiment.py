"""The experiment of the documentation, in a file outside this repository: it is killed, and goes on where it was."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]


def test_the_experiment_of_the_documentation_is_killed_and_goes_on(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "your_experiment.md").read_text(), flags=re.DOTALL)
    (tmp_path / "widths.py").write_text(code, encoding="utf-8")
    options = ("--widths", "2", "3", "--train.epochs", "1", "--seeds", "2", "--protocol.images", "10", "--out", "run")
    command = [sys.executable, "widths.py", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CNNJAX_CACHE": str(tmp_path / "cache")}

    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as killed:
        first = tmp_path / "run" / "cells" / "width=2" / "predictions.safetensors"
        while not first.exists() and killed.poll() is None:
            time.sleep(0.01)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    before = first.read_bytes()
    assert not (tmp_path / "run" / "summary.csv").exists()

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "[1/2] width=2: finished earlier" in done.stderr
    assert "[2/2] width=3\n" in done.stderr
    assert first.read_bytes() == before
    assert "Accuracy, in percent" in done.stdout
    assert done.stdout.endswith("\nrun\n")
    summary = pd.read_csv(tmp_path / "run" / "summary.csv")
    assert summary[["cell", "seed"]].values.tolist() == [[f"width={w}", seed] for w in (2, 3) for seed in (0, 1)]
    assert (tmp_path / "run" / "tables.json").exists()
