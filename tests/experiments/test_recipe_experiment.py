"""The recipe experiment on streamed photographs: whole, killed and resumed; and its preset beside the paper."""

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from cnnjax import InputError
from cnnjax.data import DataConfig
from cnnjax.runs import main
from cnnjax.sweep.network import NetworkConfig
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.training import TrainConfig, learning_rate
from experiments import recipe
from tests.data.photographs import photographs

needs_grain = pytest.mark.skipif(importlib.util.find_spec("grain") is None, reason="grain is not installed")


def tiny(folder, **options):
    return recipe.Config(
        data=DataConfig("folder", folder, size=12, fit="center", crop_area=0.2, workers=0),
        network=NetworkConfig.of("all_conv", widths=(4,), depth=1),
        train=TrainConfig(epochs=2, batch_size=8, learning_rate=0.05),
        flip=0.5,
        color=0.4,
        protocol=ProtocolConfig(max_shift=1, images=4, orbits=("shift_zero",)),
        seeds=1,
        **options,
    )


@needs_grain
def test_streamed_photographs_are_trained_on_and_measured(tmp_path):
    config = tiny(photographs(tmp_path / "data", 15), out=tmp_path / "run")
    recipe.run(config)
    summary = pd.read_csv(tmp_path / "run" / "summary.csv")
    assert list(summary["cell"]) == ["all_conv"]
    assert list(summary["status"]) == ["ok"]
    assert summary["test.accuracy"].item() * 6 == pytest.approx(round(summary["test.accuracy"].item() * 6))
    table = (tmp_path / "run" / "table.md").read_text()
    assert "decoded in each epoch, random parts of at least 0.2 of the area to train" in table
    # Where the images lie and what decodes them is no part of what the run is: the same command goes on.
    moved = dataclasses.replace(config, data=dataclasses.replace(config.data, workers=3))
    assert recipe.run(moved) == tmp_path / "run"


def test_the_imagenet_preset_is_the_published_schedule():
    """Goyal et al. 2017, section 5.1, in steps of 256 of 1,281,167 images."""
    per_epoch, config = 1_281_167 // 256, recipe.IMAGENET
    hyper = config.train.hyper(1_281_167)

    def rate(epoch):
        return float(learning_rate(jnp.asarray(round(epoch * per_epoch), jnp.int32), hyper))

    expected = {2.5: 0.05, 5.01: 0.1, 29.9: 0.1, 30.1: 0.01, 59.9: 0.01, 60.1: 1e-3, 79.9: 1e-3, 80.1: 1e-4, 89.9: 1e-4}
    np.testing.assert_allclose([rate(epoch) for epoch in expected], list(expected.values()), rtol=1e-3)
    assert (hyper.weight_decay, hyper.label_smoothing, config.train.optimizer) == (np.float32(1e-4), 0, "sgd")
    assert (config.data.size, config.data.fit, config.data.crop_area, config.flip) == (224, "center", 0.08, 0.5)


@needs_grain
def test_the_learning_rate_follows_the_batch(tmp_path):
    config = dataclasses.replace(tiny(photographs(tmp_path / "data", 15)), reference_batch=32)
    dataset = recipe.load_images(config.data, recipe.Progress(1), stream=True)
    assert recipe.plan_of(config, dataset).train.learning_rate == pytest.approx(0.05 * 8 / 32)


@needs_grain
def test_an_experiment_that_needs_memory_says_so(tmp_path):
    from experiments import augmentation

    folder = photographs(tmp_path / "data", 15)
    data = DataConfig("folder", folder, size=12, memory=0.0)
    with pytest.raises(InputError, match=r"needs them in memory: raise it.*experiments\.recipe does not"):
        augmentation.run(augmentation.Config(data=data, out=tmp_path / "run"))


@needs_grain
@pytest.mark.slow
def test_a_dry_run_times_steps_on_a_batch_of_what_is_streamed(tmp_path, monkeypatch, capsys):
    folder = photographs(tmp_path / "data", 15)
    options = f"--data.name folder --data.data-dir {folder} --data.size 12 --data.crop-area 0.2 --train.batch-size 8"
    network = "--network.name all_conv --network.widths 4 --network.depth 1 --train.epochs 6 --dry-run"
    monkeypatch.setattr(sys, "argv", ["recipe", *f"{options} {network}".split()])
    main(recipe.Config, recipe.run, prog="recipe")
    told = capsys.readouterr().out
    assert "3 networks, 54 steps of one" in " ".join(told.split())  # 18 for each
    assert "Reads 24 images to train and 6 to test, decoded 0 MB in each epoch" in told


@needs_grain
@pytest.mark.slow
def test_a_run_killed_with_its_workers_ends_with_the_same_bytes(tmp_path):
    folder = photographs(tmp_path / "data", 15)

    def command(out):
        options = f"--data.name folder --data.data-dir {folder} --data.size 12 --data.crop-area 0.2 --data.workers 2"
        network = "--network.name all_conv --network.widths 4 --network.depth 1 --train.epochs 6 --train.batch-size 8"
        more = f"--protocol.max-shift 1 --protocol.images 4 --seeds 2 --out {out}"
        return [sys.executable, "-m", "experiments.recipe", *f"{options} {network} {more}".split()]

    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True, timeout=200)
    process = subprocess.Popen(command(tmp_path / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = tmp_path / "killed" / "cells" / "all_conv" / "state.safetensors"
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert state.exists()
    subprocess.run(command(tmp_path / "killed"), check=True, capture_output=True, timeout=200)
    for name in ("summary.csv", "scores.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
