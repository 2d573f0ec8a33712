"""The depth experiment end to end on the shallowest networks: whole, killed and resumed, and what it refuses."""

import dataclasses
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from PIL import Image

from cnnjax import models
from cnnjax.data import DataConfig, load
from cnnjax.runs import cli, read_metrics
from cnnjax.sweep import cell
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.training import TrainConfig, init_states, load_tree
from cnnjax.training.step import StepSpec
from experiments import depth
from experiments.depth import cells as depth_cells
from experiments.depth import report as depth_report
from experiments.shared.learning_signal import Measured

TINY = depth.Config(
    data=DataConfig(train_images=40, test_images=10, size=8, canvas=8),
    depths=(8,),
    widths=(2, 2, 2),
    train=TrainConfig(epochs=2, batch_size=20, learning_rate=0.05),
    moments=2,
    images=10,
    protocol=ProtocolConfig(max_shift=1, images=10, orbits=("shift_zero",)),
    seeds=2,
)
PLAIN, RESIDUAL = "network=plain,depth=8", "network=residual,depth=8"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return depth.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def network(kind):
    data = load(TINY.data)
    return data, models.ResNet(
        num_classes=10, widths=(2, 2, 2), depth=1, residual=kind == "residual", mean=data.mean, std=data.std
    )


def variables_of(path, model, data):
    spec = StepSpec(model, "sgd", 20, lambda key, images, strengths: images)
    like = jax.eval_shape(lambda: init_states(spec, range(2), data.train.images.shape[1:]).variables)
    return load_tree(path, like)[0]


def test_the_directory_tells_the_whole_story(whole):
    summary = pd.read_csv(whole / "summary.csv")
    assert list(zip(summary["cell"], summary["seed"], strict=True)) == [
        (c, s) for c in (PLAIN, RESIDUAL) for s in (0, 1)
    ]
    pairs = pd.read_csv(whole / "comparisons.csv")
    assert set(zip(pairs["cell"], pairs["against"], strict=True)) == {(RESIDUAL, PLAIN)}
    errors = summary.pivot(index="seed", columns="cell", values="train.error")
    found = pairs.set_index("score").loc["train.error", "difference"]
    assert found == pytest.approx((errors[RESIDUAL] - errors[PLAIN]).mean())
    signal = pd.read_csv(whole / "signal.csv")
    rows = list(signal[["cell", "step", "seed"]].itertuples(index=False, name=None))
    assert rows == [(name, step, seed) for name in (PLAIN, RESIDUAL) for step in (0, 2, 4) for seed in (0, 1)]
    # What is measured of a cell is noted beside its training, by its seconds.
    assert read_metrics(whole)["epoch"].notna().sum() == 2 * 2 * 2  # cells, seeds, epochs
    assert re.search(r"\| plain +\| +8 \| +\d+ \| +25 \| +\d+\.\d ± ", (whole / "table.md").read_text())
    for name in ("errors", "gradients_start", "gradients_training", "training"):
        with Image.open(whole / "figures" / f"{name}.png") as figure:
            assert len(figure.getcolors(figure.width * figure.height)) > 50  # type: ignore[arg-type]


def test_the_training_error_is_that_of_the_last_weights_on_the_training_images(whole):
    data, model = network("residual")
    variables = variables_of(whole / "cells" / RESIDUAL / "weights.safetensors", model, data)
    summary = pd.read_csv(whole / "summary.csv").set_index(["cell", "seed"])
    images = data.train.images.astype(np.float32) / np.float32(255)
    logits_of = jax.jit(lambda variables, images: model.apply(variables, images)[0])
    for seed in (0, 1):
        logits = logits_of(jax.tree.map(lambda leaf, seed=seed: np.asarray(leaf)[seed], variables), images)
        wrong = np.mean(np.argmax(np.asarray(logits), -1) != data.train.labels)
        assert summary.loc[(RESIDUAL, seed), "train.error"] == pytest.approx(wrong)


def test_the_signal_at_step_0_is_of_the_networks_that_the_seeds_draw(whole):
    data, model = network("plain")
    images, labels = data.train.images[:10].astype(np.float32) / np.float32(255), data.train.labels[:10]
    variables = model.init(jax.random.fold_in(jax.random.key(1), 0), jnp.asarray(images[:1]))

    @jax.jit
    def loss_of(variables, images):
        (logits, _), _ = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss = loss_of(variables, images)
    signal = pd.read_csv(whole / "signal.csv").set_index(["cell", "seed", "step"])
    assert signal.loc[(PLAIN, 1, 0), "loss"] == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "call"),
    [pytest.param(cell, "train_together", 2, marks=pytest.mark.slow), (depth_cells, "measure_networks", 2)],
)
def test_killed_on_the_way_it_resumes_to_the_same_tables(whole, tmp_path, monkeypatch, module, name, call):
    real, calls = getattr(module, name), []

    def stop(*args, **options):
        calls.append(args)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*args, **options)

    config = dataclasses.replace(TINY, out=tmp_path / "run")
    monkeypatch.setattr(module, name, stop)
    with pytest.raises(KeyboardInterrupt):
        depth.run(config)
    path = depth.run(config)
    assert len(calls) == (3 if module is cell else 7)  # the stop among them, and nothing twice
    for file in ("summary.csv", "signal.csv", "table.md"):
        assert (path / file).read_bytes() == (whole / file).read_bytes()


def test_what_depth_does_is_the_difference_seed_by_seed():
    signal = Measured([], [], [], *(np.zeros(0) for _ in range(4)))
    plans, results, columns = [], {}, {}
    for layers, wrong, correct in ((20, [0.3, 0.5], 0.5), (8, [0.1, 0.2], 0.75)):
        plan = cell.CellPlan(f"depth={layers}", models.MLP(num_classes=2, widths=(2,)), TrainConfig())
        plans.append(depth_cells.DepthPlan(plan, "plain", layers))
        results[plan.name] = depth_cells.DepthResult(np.array(wrong), signal)
        columns[plan.name] = {"test": {"correct": np.full((2, 4), correct)}}
    (row,) = depth_report._changes(plans, results, columns)
    assert row["depth"] == "8 → 20"
    assert row["training error"].mean == pytest.approx(0.25)
    assert row["test error"].mean == pytest.approx(0.25)


def test_the_paper_preset_is_the_recipe_of_64k_steps():
    hyper = depth.PAPER.train.hyper(50_000)
    assert float(hyper.total_steps) == pytest.approx(64_000, rel=0.001)
    np.testing.assert_allclose(hyper.drops, [32_000, 48_000], rtol=0.001)
    assert float(hyper.warmup_steps) == pytest.approx(400, rel=0.001)
    assert depth.PAPER.train.batch_size == 128


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--depths", "10"), "depths has 10, which is not 6n + 2 with n of 1 or more: 8 is"),
        (("--depths",), "depths is empty"),
        (("--kinds",), "kinds is empty"),
        (("--moments", "0"), "moments=0 must be at least 1"),
        (("--images", "2000"), "images=2000 of 1501 training images: give fewer"),
        (("--seeds", "0"), "seeds=0 must be at least 1"),
        (("--crop", "-1"), "crop=-1 must be at least 0"),
        (("--train.batch-size", "1600"), "train.batch_size=1600 is larger than the training set"),
        (("--train.drops", "0.9", "0.5"), "train.drops=(0.9, 0.5) must rise"),
        (("--protocol.orbits",), "protocol.orbits is empty"),
        (("--depths", "8", "8"), "'8' more than once"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr(depth, "sweep", None)  # long work would fail loudly
    monkeypatch.setattr(sys, "argv", ["depth", *flags, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        cli.main(depth.Config, depth.run, prog="depth", presets={"paper": depth.PAPER})
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
