"""The effective field experiment end to end at toy size: theory, training, killed and resumed, and what it refuses."""

import dataclasses
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnjax import InputError, analysis
from cnnjax.data import DataConfig, load
from cnnjax.runs import cli, read_config
from cnnjax.sweep.network import NetworkConfig
from cnnjax.training import TrainConfig, read_arrays
from experiments import effective_field
from experiments.effective_field import stacks as effective_stacks
from experiments.effective_field.stacks import Stack
from tests.experiments.conftest import environment
from tests.repeats import repeated

ROOT = Path(__file__).parents[2]
FLAGS = (
    *("--weights", "equal", "random_relu", "--layers", "2", "4", "--channels", "2", "--seeds", "2", "--images", "4"),
    *("--data.train-images", "40", "--data.test-images", "10", "--data.canvas", "20"),
    *("--network.name", "all_conv", "--network.widths", "2", "4", "--network.depth", "1"),
    *("--train.epochs", "1", "--train.batch-size", "20"),
)
TINY = effective_field.Config(
    weights=("equal", "random_relu"),
    layers=(2, 4),
    channels=2,
    seeds=2,
    images=4,
    data=DataConfig(train_images=40, test_images=10, canvas=20),
    network=NetworkConfig.of("all_conv", widths=(2, 4), depth=1),
    train=TrainConfig(epochs=1, batch_size=20),
)


def command(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["effective_field", *map(str, flags)])
    cli.main(effective_field.Config, effective_field.run, prog="effective_field")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One uninterrupted run."""
    return effective_field.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def test_the_run_holds_every_map_and_what_follows_from_it(whole):
    summary = pd.read_csv(whole / "summary.csv")
    stacks = summary[summary["weights"].notna()]
    counts = stacks.groupby(["weights", "layers"]).size()
    assert counts.to_dict() == {
        (weights, n): 1 if weights == "equal" else 2 for weights in ("equal", "random_relu") for n in (2, 4)
    }
    theory = np.sqrt(stacks["layers"] * 8 / 12)
    np.testing.assert_allclose(stacks["theory_sigma"], theory)
    equal = stacks["weights"].eq("equal")
    np.testing.assert_allclose(stacks.loc[equal, "sigma_absolute"], theory[equal], rtol=1e-5)

    network = summary[summary["cell"].eq("training")].set_index(["layer", "when", "seed"])
    assert list(network.index.unique("layer")) == ["stage1_conv1", "stage2_conv1"]
    assert network.groupby("layer")["receptive_field"].unique().map(list).to_dict() == {
        "stage1_conv1": [3],
        "stage2_conv1": [7],
    }
    arrays, _ = read_arrays(whole / "cells" / "training" / "fields.safetensors")
    for when in ("before", "after"):
        maps = arrays[f"{when}/stage2_conv1"]
        assert maps.shape == (2, 20, 20)
        np.testing.assert_allclose(maps.sum((1, 2)), 1, rtol=1e-5)
        # The middle unit (2, 2) of a map of stride 4 sees pixels 4·2 − 3 to 4·2 + 3.
        assert not np.delete(maps, range(5, 12), axis=1).any()
        radius = analysis.EffectiveField(maps[1], (2, 2)).radius()
        assert network["radius"].to_dict()["stage2_conv1", when, 1] == pytest.approx(radius)
    assert (arrays["before/stage2_conv1"] != arrays["after/stage2_conv1"]).any()
    assert (arrays["before/stage2_conv1"][0] != arrays["before/stage2_conv1"][1]).any()
    assert {figure.name for figure in (whole / "figures").iterdir()} == {"growth.png", "stacks.png", "training.png"}
    for figure in (whole / "figures").iterdir():
        Image.open(figure).verify()
    assert "| stage2_conv1 " in (whole / "table.md").read_text()


@pytest.mark.slow
def test_interrupted_it_goes_on_to_the_same_summary(whole, tmp_path, monkeypatch, capsys):
    out, real, measured = shutil.copytree(whole, tmp_path / "run"), effective_stacks.measure, []
    stack = out / "cells" / "weights=random_relu,layers=4" / "fields.safetensors"
    for file in (stack, out / "summary.csv"):
        file.unlink()

    def stop(stack, seed):
        measured.append(seed)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return real(stack, seed)

    config = dataclasses.replace(TINY, out=out)
    monkeypatch.setattr(effective_stacks, "measure", stop)
    with pytest.raises(KeyboardInterrupt):
        effective_field.run(config)
    assert not stack.exists()
    # Killed while it measured the trained network, it does not train again.
    (out / "cells" / "training" / "fields.safetensors").unlink()
    monkeypatch.setattr("cnnjax.sweep.cell.train_together", None)
    capsys.readouterr()
    effective_field.run(config)
    assert measured == [0, 1, 0, 1]
    assert capsys.readouterr().err.count("finished earlier") == 3
    assert (out / "summary.csv").read_bytes() == (whole / "summary.csv").read_bytes()


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_summary(whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.effective_field", *FLAGS, "--out", str(out)],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while process.poll() is None and len(list(out.glob("cells/*/fields.safetensors"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = {path.parent.name for path in out.glob("cells/*/fields.safetensors")}

    measured = []
    real = effective_stacks.measure
    monkeypatch.setattr(effective_stacks, "measure", lambda stack, seed: measured.append(stack) or real(stack, seed))
    command(monkeypatch, *FLAGS, "--out", out)
    err = capsys.readouterr().err
    assert err.count("finished earlier") == len(finished)
    assert {f"weights={stack.weights},layers={stack.layers}" for stack in measured}.isdisjoint(finished)
    assert (out / "summary.csv").read_bytes() == (whole / "summary.csv").read_bytes()
    assert read_config(out)["config"]["layers"] == [2, 4]

    # Killed while it measured the trained network, it does not train again.
    (out / "cells" / "training" / "fields.safetensors").unlink()
    monkeypatch.setattr("cnnjax.sweep.cell.train_together", None)
    command(monkeypatch, *FLAGS, "--out", out)
    assert (out / "summary.csv").read_bytes() == (whole / "summary.csv").read_bytes()


@pytest.mark.slow
def test_a_run_that_grows_comes_to_the_same_summary(whole, tmp_path, monkeypatch):
    config, measured, real = dataclasses.replace(TINY, out=tmp_path / "run"), [], effective_stacks.measure
    effective_field.run(dataclasses.replace(config, seeds=1, layers=(2,)))
    monkeypatch.setattr(effective_stacks, "measure", lambda *of: measured.append(of) or real(*of))
    effective_field.run(config)
    assert (config.out / "summary.csv").read_bytes() == (whole / "summary.csv").read_bytes()
    assert (Stack("random_relu", 2, channels=2), 0) not in measured


@pytest.mark.parametrize(("layers", "share"), [(5, 0.664), (10, 0.492), (20, 0.356), (40, 0.255)])
def test_equal_weights_have_the_variance_of_the_theory(layers, share):
    stack = Stack("equal", layers)
    field = analysis.EffectiveField(effective_stacks.measure(stack, 0), (layers, layers))
    np.testing.assert_allclose(field.covariance, np.eye(2) * layers * 8 / 12, rtol=1e-6, atol=1e-6)
    assert stack.sigma == pytest.approx(math.sqrt(layers * 8 / 12))
    assert abs(4 * field.sigma[0] / stack.size - share) < 5e-4


@pytest.mark.parametrize("weights", repeated(["random", "random_relu"]))
def test_the_mean_square_of_random_weights_has_it_too(weights):
    stack, image = Stack(weights, 4, channels=3), jnp.ones((1, 9, 9, 1))

    def derivative(key):
        return jax.grad(lambda x: effective_stacks.draw(stack, key)(x)[0, 4, 4].sum())(image)[0, ..., 0]

    keys = jax.random.split(jax.random.key(0), 400)
    square = np.asarray(jax.jit(jax.vmap(derivative))(keys), np.float64) ** 2
    field = analysis.EffectiveField(square.mean(0) / square.mean(0).sum(), (4, 4))
    # A ReLU's gates are not independent of the weights below them.
    np.testing.assert_allclose(field.sigma, [stack.sigma] * 2, rtol=0.05)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--kernel-size", "4"), "kernel_size=4 must be odd"),
        (("--layers", "1", "5"), "layers=(1, 5) must be at least 2"),
        (("--layers", "5", "5"), "more than once"),
        (("--seeds", "0"), "seeds=0 must be at least 1"),
        (("--network.name", "mlp"), "has no maps, and so no effective fields"),
        (("--train.batch-size", "100000"), "train.batch_size=100000 is larger than the training set"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, *flags, "--out", tmp_path / "run")
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_other_images_are_refused_on_resume(whole, monkeypatch):
    other = load(DataConfig(train_images=41, test_images=10, canvas=20))
    monkeypatch.setattr(effective_field, "load_images", lambda config, progress: other)
    with pytest.raises(InputError, match="not those that"):
        effective_field.run(dataclasses.replace(TINY, out=whole))
