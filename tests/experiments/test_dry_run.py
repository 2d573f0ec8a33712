"""A dry run tells what a command would do: its numbers are those of the run, and it leaves nothing."""

import dataclasses
import importlib
import json
import re
import sys

import jax
import numpy as np
import pytest

from cnnjax import models
from cnnjax.runs import main
from cnnjax.training import read_arrays
from experiments import augmentation
from experiments.augmentation import Config, run
from tests.experiments.conftest import TINY, TINY_FLAGS

OWN_LOOPS = (
    "patchmatch",
    "jigsaw",
    "jigsaw_learned",
    "parameters",
    "receptive_field",
    "sample_complexity",
    "self_similarity",
)
"""Experiments whose work is no training step of the library's."""

ONE_STEP = ("--train.epochs", "1", "--train.batch-size", "60", "--data.train-images", "60", "--data.test-images", "20")
TRAINED = {
    "gradients": (
        *ONE_STEP,
        "--kinds",
        "plain",
        "--norms",
        "batch",
        "--train-depths",
        "8",
        "--images",
        "20",
        "--seeds",
        "1",
    ),
    "effective_field": (*ONE_STEP, "--images", "8", "--seeds", "1"),
    "visualise": ONE_STEP,
}
"""Experiments that train what `sweep` knows nothing of, with few images and short trainings."""


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """The lines of a command with `--dry-run`, in a folder that is as empty after it as it was before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("CNNJAX_CACHE", str(tmp_path / "cache"))

    def call(name: str, *flags: str) -> list[str]:
        module = importlib.import_module(f"experiments.{name}")
        monkeypatch.setattr(sys, "argv", [name, *flags, "--dry-run"])
        main(module.Config, module.run, prog=name)
        assert not list(tmp_path.iterdir())
        return capsys.readouterr().out.splitlines()

    return call


def test_what_is_told_is_what_the_run_does(told, tmp_path):
    lines = told("augmentation", *TINY_FLAGS, "--augmentations", "none", "both")
    config = dataclasses.replace(TINY, out=tmp_path / "run")
    rows = [line.split() for line in lines if line.startswith(" augmentation=")]
    path = run(config)
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        cell = path / "cells" / row[0]
        arrays, _ = read_arrays(cell / "weights.safetensors")
        parameters = sum(array.size // 2 for name, array in arrays.items() if name.startswith("params"))
        assert int(row[2].replace(",", "")) == parameters
        last = max(record["step"] for record in records if record.get("cell") == row[0] and "step" in record)
        assert int(row[4]) == last
        predictions, _ = read_arrays(cell / "predictions.safetensors")
    assert [row[0] for row in rows] == ["augmentation=none", "augmentation=both"]
    # Circular shifts of digits with a margin are the zero-filled ones, and are shown once.
    shown = {name: array for name, array in predictions.items() if name.endswith("classes") and "circular" not in name}
    images = len(rows) * sum(array.size for array in shown.values())
    (line,) = [line for line in lines if "classifies" in line]
    assert int(re.search(r"classifies ([\d,]+) images", line)[1].replace(",", "")) == images


def test_the_memory_of_the_optimizer_is_that_of_the_momentum(told):
    (row,) = [line.split() for line in told("augmentation", *TINY_FLAGS, "--augmentations", "none") if " aug" in line]
    model = models.AllConv(num_classes=10, widths=(4,), depth=1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 16, 16, 1), np.float32))
    momentum = 2 * 4 * sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))  # of two networks, in float32
    assert float(row[7]) == pytest.approx(momentum / 1e6, abs=0.05)


@pytest.mark.parametrize("name", OWN_LOOPS)
def test_what_trains_by_itself_or_not_at_all_says_its_parts(told, name):
    lines = told(name)
    assert lines[-2].startswith("To compute: ")
    assert lines[-1].endswith("Nothing was computed or written.")


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_what_trains_beside_a_sweep_says_its_steps(told, name):
    lines = told(name, *TRAINED[name])
    assert any(line.startswith("What would be trained") for line in lines)


def test_bad_input_is_refused_as_ever(told, capsys):
    with pytest.raises(SystemExit, match="2"):
        told("augmentation", *TINY_FLAGS, "--train.batch-size", "100")
    assert "train.batch_size=100" in capsys.readouterr().err


def test_a_run_that_is_there_is_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    augmentation.run(Config(**{**vars(TINY), "augmentations": ("none",), "seeds": 1}))
    files = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    flags = ("--seeds", "1", "--augmentations", "none", "--dry-run")
    monkeypatch.setattr(sys, "argv", ["augmentation", *TINY_FLAGS, *flags])
    main(Config, run, prog="augmentation")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == files
