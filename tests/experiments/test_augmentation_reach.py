"""Augmentation against architecture at toy size: what is exact, inside and outside, costs, and what is refused."""

import dataclasses
import re
import sys

import jax
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnjax import analysis
from cnnjax.data import Augmentation, DataConfig, load
from cnnjax.runs import cli, open_run, read_metrics
from cnnjax.sweep import cell
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.protocol import ProtocolConfig, Task
from cnnjax.training import TrainConfig, read_arrays
from experiments import augmentation
from experiments.augmentation import reach_report
from experiments.augmentation.reach_report import Reach, parts_inside_and_outside
from tests.repeats import repeated

TINY = augmentation.Config(
    data=DataConfig(train_images=40, test_images=20, size=6, canvas=8),
    network=NetworkConfig.of("all_conv", widths=(4,), depth=1, downsample="max"),
    train=TrainConfig(epochs=2, batch_size=20),
    protocol=ProtocolConfig(max_shift=1, rotation_step=90.0, images=20, orbits=("rotation",)),
    augmentations=("none", "rotation"),
    strengths=(0.5, 1.0),
    architectures=("plain", "p4"),
    crop=1,
    seeds=2,
)
CELLS = [
    f"{name}augmentation={kind}"
    for name in ("", "architecture=p4,")
    for kind in ("none", "rotation,strength=0.5", "rotation")
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return augmentation.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def test_the_directory_tells_the_whole_story(whole):
    summary = pd.read_csv(whole / "summary.csv")
    assert list(zip(summary["cell"], summary["seed"], strict=True)) == [(c, s) for c in CELLS for s in (0, 1)]
    text = (whole / "table.md").read_text()
    for row in (
        r"\| plain +\| +none \|",
        r"\| p4 +\| +±90° \|",
        r"\| p4 +\| +±180° \|",
        r"\| p4 +\| +\d+ \| +[\d,]+ \|",
    ):
        assert re.search(row, text), text
    assert set(pd.read_csv(whole / "comparisons.csv")["against"]) == {CELLS[0]}
    with Image.open(whole / "figures" / "reach.png") as figure:
        assert len(figure.getcolors(figure.width * figure.height)) > 50  # type: ignore[arg-type]


def test_group_convolutions_answer_quarter_turns_alike_before_and_after_any_training(whole):
    summary = pd.read_csv(whole / "summary.csv").set_index("cell")
    assert (summary.loc[CELLS[3:], "rotation.consistency"] == 1).all()


def test_accuracy_inside_and_outside_follows_from_the_predictions(whole):
    labels = load(TINY.data).test.labels
    summary = pd.read_csv(whole / "summary.csv").set_index(["cell", "seed"])
    right = read_arrays(whole / "cells" / CELLS[1] / "predictions.safetensors")[0]["rotation/classes"] == labels
    for seed in (0, 1):  # 0, 90, 180 and 270 degrees; trained to ±90
        found = summary.loc[(CELLS[1], seed)]
        assert found["rotation_inside.mean_accuracy"] == pytest.approx(right[seed, [1, 3]].mean())
        assert found["rotation_outside.mean_accuracy"] == pytest.approx(right[seed, 2].mean())


@pytest.mark.slow
def test_a_run_that_grows_beyond_its_figures_comes_to_the_same_files(whole, tmp_path):
    out = tmp_path / "run"
    augmentation.run(dataclasses.replace(TINY, strengths=(1.0,), architectures=("plain",), seeds=1, out=out))
    augmentation.run(dataclasses.replace(TINY, out=out))
    for file in ("summary.csv", "scores.csv", "comparisons.csv"):
        assert (out / file).read_bytes() == (whole / file).read_bytes()
    for part in ("figures", "cells"):
        assert {path.name for path in (out / part).iterdir()} == {path.name for path in (whole / part).iterdir()}


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_table(whole, tmp_path, monkeypatch):
    real, calls = cell.train_together, []

    def stop(*args, **options):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    config = dataclasses.replace(TINY, out=tmp_path / "run")
    monkeypatch.setattr(cell, "train_together", stop)
    with pytest.raises(KeyboardInterrupt):
        augmentation.run(config)
    path = augmentation.run(config)
    assert len(calls) == 7  # six cells and the stop
    assert (path / "summary.csv").read_bytes() == (whole / "summary.csv").read_bytes()
    assert (path / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
    assert len(read_metrics(path)) == len(read_metrics(whole))


def test_what_lies_inside_the_trained_range():
    rotation = Task(analysis.rotations(45), None)
    shift = Task(analysis.shifts(2), None)
    plan = cell.CellPlan("cell", build(TINY.network, load(TINY.data)), TINY.train, Augmentation(crop=1, rotation=90.0))
    parts = parts_inside_and_outside(Reach(plan, {}, "plain"), {"rotation": rotation, "shift_zero": shift})
    assert list(rotation.orbit.parameters[parts["rotation_inside"][1]]) == [45, 90, 270, 315]
    assert list(rotation.orbit.parameters[parts["rotation_outside"][1]]) == [135, 180, 225]
    inside = shift.orbit.parameters[parts["shift_inside"][1]]
    assert len(inside) == 8
    assert np.abs(inside).max() == 1
    assert parts["shift_outside"][1].sum() == 16


def test_the_time_of_a_step_where_an_epoch_ends_with_a_shorter_chunk(tmp_path):
    with open_run("times", {}, out=tmp_path / "run") as run:
        for cell_name, milliseconds in (("slow", 20), ("quick", 5)):
            for seed in (0, 1):
                for step, count in ((188, 188), (373, 185), (561, 188), (746, 185)):
                    run.log(cell=cell_name, seed=seed, step=step, seconds=count * milliseconds / 1000)
        assert reach_report.milliseconds(run, ["slow", "quick"]) == pytest.approx({"slow": 20, "quick": 5})


@pytest.mark.parametrize("preset", repeated([augmentation.ARCHITECTURE, augmentation.PAPER]))
def test_the_architectures_have_about_as_many_parameters(preset):
    dataset = load(dataclasses.replace(augmentation.ARCHITECTURE.data, train_images=20, test_images=10))
    images = jax.ShapeDtypeStruct((1, 16, 16, 1), "float32")
    counts = {}
    for one in augmentation._cells(dataclasses.replace(preset, augmentations=("none",))):
        model = build(one.config.network(preset.network), dataset)
        variables = jax.eval_shape(model.init, jax.random.key(0), images)
        counts[one.config.architecture] = analysis.cost(model.apply, images, variables).parameters
    assert set(counts) == {"plain", "p4", "p4m", "polyphase"}
    assert max(counts.values()) < 1.25 * min(counts.values()), counts


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--strengths",), "strengths is empty"),
        (("--architectures",), "architectures is empty"),
        (("--strengths", "0", "1"), "strengths=(0.0, 1.0) must be positive"),
        (("--strengths", "0.1", "1"), "strengths=(0.1, 1.0) of crop=4 pixels leave less than one"),
        (("--network.name", "mlp", "--depths", "2"), "network.depth has no meaning for mlp"),
        (("--depths", "1", "1"), "'1' more than once"),
        (("--architectures", "p8"), "invalid choice"),
        (("--architectures", "p4", "--network.kernel-size", "4"), "16×16"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr(augmentation, "sweep", None)  # long work would fail loudly
    argv = ["augmentation", "--preset", "architecture", *flags, "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", argv)
    presets = {"architecture": augmentation.ARCHITECTURE}
    with pytest.raises(SystemExit) as stopped:
        cli.main(augmentation.Config, augmentation.run, prog="augmentation", presets=presets)
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_cells_of_ones_own_augmentation_are_called_as_it_was_given():
    kinds = ("none", "my.warps:elastic")
    config = dataclasses.replace(augmentation.Config(), augmentations=kinds, strengths=(0.5, 1.0))
    assert [one.name for one in augmentation._cells(config)] == ["augmentation=none", "augmentation=my.warps.elastic"]
