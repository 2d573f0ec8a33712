"""The gradients experiment end to end on the shallowest networks: whole, killed and resumed, and what it refuses."""

import dataclasses
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from PIL import Image

from cnnjax import InputError, models
from cnnjax.data import DataConfig, load
from cnnjax.runs import cli, read_config, read_metrics
from cnnjax.runs.folder import Folder
from cnnjax.training import TrainConfig, chunks, read_arrays
from experiments import gradients
from experiments.gradients import redraw
from experiments.shared import learning_signal
from tests.experiments.conftest import environment

ROOT = Path(__file__).parents[2]
FLAGS = (
    *("--data.train-images", "40", "--data.test-images", "10", "--data.size", "8", "--data.canvas", "8"),
    *("--depths", "8", "--widths", "2", "2", "2", "--kinds", "plain", "residual", "--norms", "none", "--images", "10"),
    *("--seeds", "2", "--train-depths", "8", "--train-seeds", "2", "--train.epochs", "2", "--train.batch-size", "20"),
    *("--activations", "relu", "--initializations", "he", "orthogonal", "--activation-depth", "8"),
)
TINY = gradients.Config(
    data=DataConfig(train_images=40, test_images=10, size=8, canvas=8),
    depths=(8,),
    widths=(2, 2, 2),
    norms=("none",),
    images=10,
    seeds=2,
    train_depths=(8,),
    train_seeds=2,
    train=TrainConfig(epochs=2, batch_size=20, learning_rate=0.02),
    activations=("relu",),
    initializations=("he", "orthogonal"),
    activation_depth=8,
)
CELLS = (
    "start,network=plain,norm=none,depth=8",
    "start,network=residual,norm=none,depth=8",
    "activations,activation=relu,init=he",
    "activations,activation=relu,init=orthogonal",
    "training,network=plain,norm=none,depth=8",
    "training,network=residual,norm=none,depth=8",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return gradients.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def test_the_directory_tells_the_whole_story(whole):
    assert read_config(whole)["config"]["depths"] == [8]
    summary = pd.read_csv(whole / "summary.csv")
    rows = list(summary[["cell", "seed", "step"]].itertuples(index=False, name=None))
    expected = [(cell, seed, 0) for cell in CELLS[:4] for seed in (0, 1)]
    expected += [(cell, seed, step) for cell in CELLS[4:] for step in (0, 2, 4) for seed in (0, 1)]
    assert rows == expected
    assert len(read_metrics(whole)) == len(expected)
    layers = pd.read_csv(whole / "layers.csv")
    one = layers[(layers["cell"] == CELLS[0]) & (layers["seed"] == 0)]
    assert list(one[one["kind"] == "map"]["depth"]) == [1, 3, 5, 7]
    assert list(one[one["kind"] == "kernel"]["depth"]) == [1, 2, 3, 4, 5, 6, 7]
    assert list(one[one["kind"] == "map"]["layer"]) == ["conv1", *(f"stage{n}_block1" for n in (1, 2, 3))]
    assert re.search(r"\| plain +\| none \| +8 \| +2\.\d\d ± ", (whole / "table.md").read_text())
    for name in ("start", "activations", "training"):
        with Image.open(whole / "figures" / f"{name}.png") as figure:
            assert len(figure.getcolors(figure.width * figure.height)) > 50  # type: ignore[arg-type]
    assert not list(whole.glob("cells/*/network-*"))


def test_the_start_of_a_training_is_the_start(whole):
    summary = pd.read_csv(whole / "summary.csv").query("step == 0").set_index(["cell", "seed"])
    columns = ["loss", "per_layer", "maps_first_over_last", "kernels_first_over_last"]
    for trained, start in zip(CELLS[4:], CELLS[:2], strict=True):
        assert summary.loc[trained, columns].equals(summary.loc[start, columns])
    assert summary.loc[CELLS[2], columns].equals(summary.loc[CELLS[0], columns])  # rectified, from He's
    assert not summary.loc[CELLS[3], columns].equals(summary.loc[CELLS[0], columns])


def test_what_is_stored_is_the_gradient(whole):
    dataset = load(TINY.data)
    model = models.ResNet(
        num_classes=10, widths=(2, 2, 2), depth=1, norm="none", residual=False, mean=dataset.mean, std=dataset.std
    )
    images = jnp.asarray(dataset.train.images[:10], jnp.float32) / 255
    params = model.init(jax.random.fold_in(jax.random.key(1), 0), images[:1])["params"]

    def loss(params):
        logits, _ = model.apply({"params": params}, images, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, dataset.train.labels[:10]).mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    arrays, _ = read_arrays(whole / "cells" / CELLS[0] / "gradients-000000.safetensors")
    assert arrays["loss"][1] == pytest.approx(float(value), rel=1e-5)
    kernels = [gradient["conv1"]["conv"]["kernel"], gradient["stage3_block1"]["conv2"]["kernel"]]
    found = arrays["kernel_gradient"][1, [0, -1]]
    assert found == pytest.approx([float(jnp.sqrt(jnp.mean(g**2))) for g in kernels], rel=1e-4)


@pytest.mark.slow
def test_killed_at_any_instant_it_resumes_to_the_same_summary(whole, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "experiments.gradients", *FLAGS, "--out", str(out)]

    def files():
        return {path.relative_to(out) for path in out.rglob("*.safetensors")} if out.exists() else set()

    for patience in (0.0, 0.3):
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before, deadline = files(), time.monotonic() + 120
        while process.poll() is None and files() <= before and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(patience)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    done = subprocess.run(
        command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(out)
    assert re.search(r"start,\S+: finished earlier", done.stderr)
    assert (out / "summary.csv").read_bytes() == (whole / "summary.csv").read_bytes()
    assert (out / "layers.csv").read_bytes() == (whole / "layers.csv").read_bytes()


@pytest.mark.slow
def test_a_training_killed_in_its_second_epoch_goes_on_there(whole, tmp_path, monkeypatch):
    real, calls = chunks.run_steps, []

    def run_steps(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    config = dataclasses.replace(TINY, out=tmp_path / "run")
    monkeypatch.setattr(chunks, "run_steps", run_steps)
    with pytest.raises(KeyboardInterrupt):
        gradients.run(config)
    assert (tmp_path / "run" / "cells" / CELLS[4] / "network-0-state.safetensors").exists()
    path = gradients.run(config)
    assert len(calls) == 5  # one epoch, the stop, and what was left of four
    assert (path / "summary.csv").read_bytes() == (whole / "summary.csv").read_bytes()


def test_a_training_that_diverges_is_a_result(tmp_path, capsys):
    hot = dataclasses.replace(TINY.train, learning_rate=1e30, warmup=0.0)
    config = dataclasses.replace(TINY, kinds=("plain",), train=hot, activations=(), out=tmp_path / "run")
    summary = pd.read_csv(gradients.run(config) / "summary.csv")
    trained = summary[summary["question"] == "training"].set_index("step")
    assert trained.loc[0, "loss"].notna().all()
    assert trained.loc[4, ["loss", "per_layer", "kernels_first_over_last"]].isna().all(axis=None)
    assert "seed 0 at step 4: the loss of seed 0 is nan at step " in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_grows_comes_to_the_same_tables(whole, tmp_path):
    out = tmp_path / "run"
    fewer = dict(seeds=1, train_seeds=1, kinds=("plain",), initializations=("he",))
    gradients.run(dataclasses.replace(TINY, **fewer, out=out))
    gradients.run(dataclasses.replace(TINY, out=out))
    for file in ("summary.csv", "layers.csv"):
        assert (out / file).read_bytes() == (whole / file).read_bytes()


@pytest.mark.slow
def test_from_another_first_seed_it_is_what_these_seeds_give(whole, tmp_path):
    few = dict(seeds=1, train_seeds=1, first_seed=1, kinds=("plain",), initializations=("he",))
    found = pd.read_csv(gradients.run(dataclasses.replace(TINY, **few, out=tmp_path / "run")) / "summary.csv")
    whole = pd.read_csv(whole / "summary.csv").query("seed == 1 and network == 'plain' and init == 'he'")
    pd.testing.assert_frame_equal(found, whole.reset_index(drop=True))


def test_what_was_measured_of_more_seeds_stands_behind_the_others_and_not_finite_is_nan_in_every_layer(tmp_path):
    def arrays(seeds, layers, value):
        return {"loss": np.full(seeds, value), "map_gradient": np.full((seeds, layers), value)}

    names = {"maps": ["one", "two"], "kernels": []}
    folder = Folder(tmp_path)
    assert learning_signal.measured_seeds(folder, 3) == 0
    learning_signal.save_measured(folder, 3, arrays(1, 0, np.nan), {"maps": [], "kernels": []})
    learning_signal.save_measured(folder, 3, arrays(2, 2, 7.0), names)
    learning_signal.save_measured(folder, 3, arrays(1, 0, np.nan), {"maps": [], "kernels": []})
    found, about = folder.described(learning_signal.measured_file(3))
    np.testing.assert_array_equal(found["map_gradient"], [[np.nan] * 2, [7, 7], [7, 7], [np.nan] * 2])
    assert about["maps"] == ["one", "two"]
    assert learning_signal.measured_seeds(folder, 3) == 4


@pytest.mark.slow
def test_a_finished_run_is_not_measured_again(whole, monkeypatch, capsys):
    before = (whole / "summary.csv").read_bytes()
    monkeypatch.setattr("cnnjax.analysis.gradient_flow", None)
    assert gradients.run(dataclasses.replace(TINY, out=whole)) == whole
    assert capsys.readouterr().err.count("finished earlier") == len(CELLS)
    assert (whole / "summary.csv").read_bytes() == before


def test_the_factor_per_layer_and_the_ratio():
    layers = np.arange(1, 9, 2)
    steady = np.stack([7.0 * 0.8**-layers, 0.1 * 1.2**-layers])
    assert learning_signal.per_layer(steady) == pytest.approx([0.8, 1.2])
    assert learning_signal.first_over_last(steady) == pytest.approx([6 * np.log10(0.8), 6 * np.log10(1.2)])
    dead = np.asarray([0.0, 1.0, 1.0, 1.0])
    assert np.isnan(learning_signal.per_layer(dead))
    assert np.isnan(learning_signal.first_over_last(dead))


def test_kernels_are_drawn_again_for_each_seed_with_the_deviation_that_the_initialisation_says():
    kernels = jnp.zeros((2, 3, 3, 16, 48))
    variables = {"params": {"conv": {"kernel": kernels, "bias": kernels[:, 0, 0, 0]}, "logits": {"kernel": kernels[0]}}}
    # Mean squares of 6,912 numbers: 3.5 standard errors. An orthogonal kernel has 16 rows of norm 1 in its middle.
    squares = {"glorot": 2 / (9 * (16 + 48)), "lecun": 1 / (9 * 16), "small": 1e-4, "orthogonal": 1 / (9 * 48)}
    for name, square in squares.items():
        drawn = redraw.redrawn(variables, name, range(2))["params"]
        for kernel in drawn["conv"]["kernel"]:
            assert float(jnp.mean(kernel**2)) == pytest.approx(square, rel=0.06)
        assert not jnp.array_equal(*drawn["conv"]["kernel"])
        assert not drawn["conv"]["bias"].any()
        assert not drawn["logits"]["kernel"].any()
    assert redraw.redrawn(variables, "he", range(2)) is variables


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--depths", "10"), "depths has 10, which is not 6n + 2 with n of 1 or more: 8 is"),
        (("--train-depths", "2"), "train_depths has 2, which is not 6n + 2"),
        (("--activation-depth", "21"), "activation_depth has 21, which is not 6n + 2 with n of 1 or more: 20 is"),
        (("--depths",), "depths is empty"),
        (("--initializations",), "initializations is empty"),
        (("--images", "0"), "images=0 must be at least 1"),
        (("--images", "41"), "images=41 of 40 training images: give fewer"),
        (("--seeds", "0"), "seeds=0 must be at least 1"),
        (("--train.batch-size", "64"), "train.batch_size=64 is larger than the training set"),
        (("--widths", "4", "2", "2", "--kinds", "plain"), "orthogonal kernels cannot lead to fewer channels"),
        (("--depths", "8", "8"), "'8' more than once"),
        (("--preset", "papre"), "invalid choice 'papre'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr(gradients, "measure_all", None)  # long work would fail loudly
    monkeypatch.setattr(sys, "argv", ["gradients", *FLAGS, *flags, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        cli.main(gradients.Config, gradients.run, prog="gradients", presets={"paper": gradients.PAPER})
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_another_dataset_is_refused(whole):
    with pytest.raises(InputError, match="other settings"):
        gradients.run(dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, train_images=50), out=whole))
