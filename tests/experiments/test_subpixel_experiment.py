"""The sub-pixel experiment end to end at toy size: exact where it must be, killed and resumed, what it refuses."""

import dataclasses
import json
import re
import sys
from fractions import Fraction

import jax
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from cnnjax.data import DataConfig
from cnnjax.runs import cli
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.network import NetworkConfig
from cnnjax.training import TrainConfig, read_arrays
from experiments import subpixel
from experiments.subpixel import cells, report

TINY = subpixel.Config(
    data=DataConfig(train_images=40, test_images=20, size=8, canvas=8),
    network=NetworkConfig.of("all_conv", widths=(4,), depth=1),
    networks=("polyphase", "alias_free_quadratic"),
    zeros=(),
    train=TrainConfig(epochs=2, batch_size=20),
    max_shift=1,
    images=20,
    seeds=2,
)
CIRCULAR = [f"padding=circular,network={kind}" for kind in TINY.networks]
ZEROS = "padding=same,network=stride"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "_turn", lambda of, cell: lambda: 0.01)  # compiles nothing
        return subpixel.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def test_the_directory_tells_the_whole_story(whole):
    summary = pd.read_csv(whole / "summary.csv")
    assert list(zip(summary["cell"], summary["seed"], strict=True)) == [(c, s) for c in CIRCULAR for s in (0, 1)]
    pairs = pd.read_csv(whole / "comparisons.csv")
    assert set(zip(pairs["cell"], pairs["against"], strict=True)) == {(cell, CIRCULAR[0]) for cell in CIRCULAR[1:]}
    assert {"test.accuracy", "half.consistency", "quarter.worst"} <= set(pairs["score"])
    text = (whole / "table.md").read_text()
    for title in ("Consistency between pixels, in percent", "Accuracy under these shifts", "What it costs"):
        assert title in text
    assert re.search(r"\| polyphase +\| +\d+ \| +\d\.\d\d M \| +1\.00 \| +\d+\.\d\d \| +1\.00 \(1\.00–1\.00\) \|", text)
    with Image.open(whole / "figures" / "distance.png") as figure:
        assert len(figure.getcolors(figure.width * figure.height)) > 50  # type: ignore[arg-type]


def test_what_is_exact_by_construction(whole):
    summary = pd.read_csv(whole / "summary.csv").set_index("cell")
    polyphase, quadratic = CIRCULAR
    assert (summary.loc[polyphase, "whole.consistency"] == 1).all()
    scores = summary.loc[quadratic, [f"{part}.{name}" for part in cells.PARTS for name in report.SCORES]]
    assert (scores.filter(like="consistency") == 1).to_numpy().all()
    right = scores.drop(columns=scores.filter(like="consistency").columns).to_numpy()
    np.testing.assert_allclose(right, right[:, :1] + np.zeros(6), rtol=1e-12)
    moved = {
        name: read_arrays(whole / "cells" / name / "shifts.safetensors")[0]["total_variation"] for name in CIRCULAR
    }
    assert moved[quadratic].max() < 1e-5
    assert moved[polyphase].mean() > 1e-3  # between pixels its choices do not move along


def test_shifts_are_every_multiple_of_a_quarter_pixel():
    orbit = cells.quarter_shifts(2)
    assert len(orbit.parameters) == 9**2 - 1
    assert {tuple(4 * offset) for offset in orbit.parameters} == {(a, b) for a in range(9) for b in range(9)} - {(0, 0)}
    kinds = cells.kinds_of(orbit.parameters)
    for at, offset in enumerate(orbit.parameters):
        finest = max(Fraction(float(d)).denominator for d in offset)
        assert [name for name, among in kinds.items() if among[at]] == [{1: "whole", 2: "half", 4: "quarter"}[finest]]
    images = np.random.default_rng(0).uniform(size=(1, 5, 7, 1)).astype(np.float32)
    move = jax.jit(orbit.apply)
    np.testing.assert_array_equal(move(images, np.float32([2, 1])), np.roll(images, (2, 1), (1, 2)))
    expected = np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(images[0, :, :, 0]), (0.25, 1.5))).real
    np.testing.assert_allclose(move(images, np.float32([0.25, 1.5]))[0, :, :, 0], expected, atol=1e-6)


def test_consistency_by_distance_is_that_of_shifts_along_the_axes_and_the_diagonal():
    orbit = cells.quarter_shifts(1)
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 2, (3, len(orbit.parameters) + 1, 6)).astype(np.uint16)
    kept = {"classes": classes, "total_variation": np.zeros((3, 24, 6), np.float32), "training_accuracy": np.ones(3)}
    found = cells._moved(kept, np.zeros(6, np.int64), orbit)
    same = (classes[:, 1:] == classes[:, :1]).mean(2)
    for quarters in range(1, 5):
        d = quarters / 4
        at = [i for i, (down, right) in enumerate(orbit.parameters) if (down, right) in ((d, 0), (0, d), (d, d))]
        assert len(at) == 3
        np.testing.assert_allclose(found.agree[:, quarters], same[:, at].mean(1))
    assert (found.agree[:, 0] == 1).all()
    assert [len(values["agree"]) for values in found.columns.values()] == [3, 3, 3]


@pytest.mark.slow
def test_killed_on_the_way_it_resumes_to_the_same_tables_and_times_nothing_twice(tmp_path, monkeypatch):
    real, calls = Sweep.networks, []

    def stop(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    config = dataclasses.replace(TINY, zeros=("stride",), out=tmp_path / "run")
    monkeypatch.setattr(cells, "STEPS", 1)
    whole = subpixel.run(dataclasses.replace(config, out=tmp_path / "whole"))
    monkeypatch.setattr(Sweep, "networks", stop)
    with pytest.raises(KeyboardInterrupt):
        subpixel.run(config)
    path = subpixel.run(config)
    assert len(calls) == 4  # the stop among them, and nothing twice
    for file in ("summary.csv", "scores.csv"):
        assert (path / file).read_bytes() == (whole / file).read_bytes()
    assert ZEROS in (path / "summary.csv").read_text()
    seconds = path / "cells" / "steps" / "seconds.json"
    before = seconds.read_bytes()
    times = json.loads(before)["value"]
    assert set(times) == set(CIRCULAR)
    assert all(len(turns) == cells.ROUNDS and min(turns) > 0 for turns in times.values())
    subpixel.run(config)
    assert seconds.read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--networks",), "networks is empty"),
        (("--networks", "stride", "stride"), "'stride' more than once"),
        (("--seeds", "0"), "seeds=0 must be at least 1"),
        (("--images", "0"), "images=0 must be at least 1"),
        (("--max-shift", "0"), "max_shift=0 must be at least 1"),
        (("--max-shift", "16"), "max_shift=16 moves images of 16 pixels out of sight"),
        (("--max-shift", "25"), "max_shift=25 makes 10,200 shifts, more than 10,000: give at most 24"),
        (("--crop", "-1"), "crop=-1 must be at least 0"),
        (("--flip", "2"), "flip=2.0 must be at most 1"),
        (("--network.name", "mlp"), "network.downsample has no meaning for mlp: "),
        (("--network.name", "vit"), "network.downsample has no meaning for vit: "),
        (("--network.padding", "circular"), "network.padding is varied here: name what to compare with --zeros"),
        (("--network.activation", "gelu"), "network.activation is varied here: name what to compare with --networks"),
        (("--network.downsample", "blur"), "network.downsample is varied here: name what to compare with --networks"),
        (("--train.batch-size", "5000"), "train.batch_size=5000 is larger than the training set"),
        (("--networks", "polyphase", "--network.widths", "4", "4", "4", "4", "4"), "stride=2 is larger than the map"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr(subpixel, "sweep", None)  # long work would fail loudly
    monkeypatch.setattr(sys, "argv", ["subpixel", *flags, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        cli.main(subpixel.Config, subpixel.run, prog="subpixel", presets={"cifar10": subpixel.CIFAR10})
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
