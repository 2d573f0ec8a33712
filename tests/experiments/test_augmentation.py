"""The main job end to end at toy size: whole, killed and resumed, failed in one cell, and from every kind of data."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnjax import InputError
from cnnjax.data import DataConfig
from cnnjax.study import read_config, read_metrics
from cnnjax.training import read_arrays
from experiments.augmentation import run
from experiments.common.network import NetworkConfig
from tests.experiments.conftest import TINY_FLAGS

ROOT = Path(__file__).parents[2]


def command(out, *flags):
    return [sys.executable, "-m", "experiments.augmentation", *TINY_FLAGS, "--out", str(out), *flags]


def environment(tmp_path):
    return {**os.environ, "XLA_FLAGS": "", "CNNJAX_CACHE": str(tmp_path / "cache")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One uninterrupted run by the command line, and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    result = subprocess.run(
        command(folder / "run", "--augmentations", "none", "both"),
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    return folder, result


def test_the_command_prints_a_table_and_ends_with_the_directory(whole):
    folder, result = whole
    lines = result.stdout.splitlines()
    assert lines[-1] == str(folder / "run")
    for row in ("none", "both"):
        assert any(line.split()[0] == row and "±" in line for line in lines if line.split())
    assert "n = 2 seeds" in result.stdout.replace("\n", " ")
    assert "compiling the training step" in result.stderr


def test_the_directory_tells_the_whole_story(whole):
    folder, _ = whole
    path = folder / "run"
    config = read_config(path)
    assert config["config"]["data"]["train_images"] == 60
    assert {"jax", "cnnjax", "python"} <= set(config["versions"])
    assert "experiments.augmentation" in config["command"]
    summary = pd.read_csv(path / "summary.csv")
    assert list(zip(summary["cell"], summary["seed"], summary["status"], strict=True)) == [
        (f"augmentation={kind}", seed, "ok") for kind in ("none", "both") for seed in (0, 1)
    ]
    assert len(read_metrics(path)) == 2 * 2 * 2  # cells, seeds, epochs of one chunk
    assert {figure.name for figure in (path / "figures").iterdir()} == {
        "rotation.png",
        "translation.png",
        "scores.png",
        "training.png",
    }
    for figure in (path / "figures").iterdir():
        Image.open(figure).verify()


def test_the_summary_follows_from_the_stored_predictions(whole):
    folder, _ = whole
    summary = pd.read_csv(folder / "run" / "summary.csv").set_index(["cell", "seed"])
    scores = pd.read_csv(folder / "run" / "scores.csv").set_index(["cell", "score"])
    from cnnjax.data import load

    labels = load(DataConfig(train_images=60, test_images=20), max_shift=1).test.labels
    for cell in ("augmentation=none", "augmentation=both"):
        arrays, _ = read_arrays(folder / "run" / "cells" / cell / "predictions.safetensors")
        assert arrays["shift_zero/classes"].shape == (2, 9, 10)
        assert arrays["rotation/classes"].shape == (2, 4, 10)
        for seed in (0, 1):
            rotated = np.mean(arrays["rotation/classes"][seed, 1:] == labels[:10])
            assert summary.loc[(cell, seed), "rotation.mean_accuracy"] == pytest.approx(rotated)
            clean = np.mean(arrays["test/classes"][seed] == labels)
            assert summary.loc[(cell, seed), "test.accuracy"] == pytest.approx(clean)
            assert summary.loc[(cell, seed), "consistency_circular_minus_zero"] == 0  # the margin holds every shift
        row = scores.loc[(cell, "rotation.mean_accuracy")]
        mean = summary.loc[cell, "rotation.mean_accuracy"].mean()
        assert row["mean"] == pytest.approx(mean)
        assert row["low"] <= mean <= row["high"]
        assert (row["seeds"], row["images"]) == (2, 10)


def test_the_comparisons_follow_from_the_summary_and_the_predictions(whole):
    path = whole[0] / "run"
    summary = pd.read_csv(path / "summary.csv").pivot(index="seed", columns="cell")
    rows = pd.read_csv(path / "comparisons.csv")
    assert set(rows["cell"]) == {"augmentation=both"}
    assert set(rows["against"]) == {"augmentation=none"}
    rows = rows.set_index(["over", "score"])
    assert len(rows.loc["seeds"]) == 7
    for score in ("test.accuracy", "rotation.mean_accuracy", "shift_zero.adjusted_consistency"):
        difference = summary[score]["augmentation=both"] - summary[score]["augmentation=none"]
        assert rows.loc[("seeds", score), "difference"] == pytest.approx(difference.mean())
        assert rows.loc[("seeds", score), "n"] == 2
    none, both = (
        read_arrays(path / "cells" / f"augmentation={kind}" / "predictions.safetensors")[0]["test/classes"]
        for kind in ("none", "both")
    )
    from cnnjax.data import load

    labels = load(DataConfig(train_images=60, test_images=20), max_shift=1).test.labels
    better = ((both == labels).mean(0) > (none == labels).mean(0)).sum()
    accuracy = rows.loc[("images", "test.accuracy")]
    assert (accuracy["higher"], accuracy["n"]) == (better, 20)
    assert (rows["p_holm"].dropna() >= rows["p"].dropna()).all()


def test_killed_at_any_instant_it_resumes_to_the_same_summary(whole, tmp_path):
    expected = (whole[0] / "run" / "summary.csv").read_bytes()
    out = tmp_path / "run"
    states, kills = set(), 0
    for patience in (0.0, 0.4, 0.0, 0.8, 1.6):
        process = subprocess.Popen(
            command(out, "--augmentations", "none", "both"),
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        before = snapshot(out)
        deadline = time.monotonic() + 120
        # Each kill waits for something new on disk, so that the run is at work, and then a little.
        while process.poll() is None and snapshot(out) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(patience)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        states |= snapshot(out)
    assert kills >= 2
    result = subprocess.run(
        command(out, "--augmentations", "none", "both"),
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    assert (out / "summary.csv").read_bytes() == expected
    assert not list(out.glob("cells/*/state.safetensors"))


def snapshot(out):
    return {(path.name, path.stat().st_size) for path in out.rglob("*") if path.is_file()} if out.exists() else set()


def test_a_finished_run_is_not_trained_again(tiny, capsys, monkeypatch):
    path = run(tiny)
    before = (path / "summary.csv").read_bytes()
    monkeypatch.setattr("experiments.common.cell.train_together", None)
    capsys.readouterr()
    assert run(tiny) == path
    captured = capsys.readouterr()
    assert captured.err.count("finished earlier") == 2
    assert "augmentation" in captured.out
    assert (path / "summary.csv").read_bytes() == before


def test_without_matplotlib_all_but_the_figures_is_there(tiny, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="need matplotlib"):
        run(dataclasses.replace(tiny, augmentations=("none",)))
    assert len(pd.read_csv(tiny.out / "summary.csv")) == 2
    assert "±" in capsys.readouterr().out


def test_a_cell_killed_in_measuring_keeps_its_training(tiny, monkeypatch):
    path = run(tiny)
    before = (path / "summary.csv").read_bytes()
    (path / "cells" / "augmentation=both" / "predictions.safetensors").unlink()
    (path / "summary.csv").unlink()
    monkeypatch.setattr("experiments.common.cell.train_together", None)
    assert (run(tiny) / "summary.csv").read_bytes() == before


def test_a_diverging_cell_is_marked_and_the_sweep_goes_on(tiny, monkeypatch, capsys):
    from experiments.common import cell

    real = cell.train_together

    def train_together(spec, trainings, *rest, **options):
        (one,) = trainings
        if int(one.strengths.crop) == 0:
            one = dataclasses.replace(one, config=dataclasses.replace(one.config, learning_rate=1e30))
        return real(spec, [one], *rest, **options)

    monkeypatch.setattr(cell, "train_together", train_together)
    path = run(tiny)
    summary = pd.read_csv(path / "summary.csv")
    failed = summary[summary["cell"] == "augmentation=none"]
    assert failed["status"].str.contains("the loss of seed").all()
    assert failed["test.accuracy"].isna().all()
    assert (summary[summary["cell"] == "augmentation=both"]["status"] == "ok").all()
    assert "augmentation=none failed: the loss of seed" in capsys.readouterr().out
    failure = json.loads((path / "cells" / "augmentation=none" / "failure.json").read_text())["failure"]
    assert "lower the learning rate" in failure
    before = (path / "summary.csv").read_bytes()
    monkeypatch.setattr(cell, "train_together", None)
    assert (run(tiny) / "summary.csv").read_bytes() == before


def test_a_sweep_of_which_nothing_is_left_says_so(tiny):
    hot = dataclasses.replace(tiny.train, learning_rate=1e30)
    with pytest.raises(InputError, match="every cell failed"):
        run(dataclasses.replace(tiny, train=hot, augmentations=("none",)))
    assert pd.read_csv(tiny.out / "summary.csv")["status"].str.contains("lower the learning rate").all()


def test_rendered_shapes_and_a_perceptron(tiny):
    network = NetworkConfig(name="mlp", widths=(8,))
    data = DataConfig(name="shapes", train_images=60, test_images=20)
    path = run(dataclasses.replace(tiny, data=data, network=network, augmentations=("crop",)))
    summary = pd.read_csv(path / "summary.csv")
    assert "rotation.mean_accuracy" in summary
    assert "shift_crop.mean_accuracy" not in summary  # a perceptron takes images of one size


def test_a_folder_of_colour_photos(tiny, tmp_path):
    random = np.random.default_rng(0)
    for label, channel in (("blue", 2), ("red", 0)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for index in range(15):
            pixels = random.integers(0, 60, (10, 12, 3), np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{index:02}.png")
    data = DataConfig(name="folder", data_dir=tmp_path / "photos", size=16)
    train = dataclasses.replace(tiny.train, epochs=8, batch_size=6)
    network = dataclasses.replace(tiny.network, name="resnet", padding="circular")
    path = run(dataclasses.replace(tiny, data=data, train=train, network=network, augmentations=("none",)))
    summary = pd.read_csv(path / "summary.csv")
    assert (summary["test.accuracy"] == 1).all()
    assert (summary["shift_crop.mean_accuracy"] == 1).all()
    # The same command on other images is refused rather than scored against the old predictions.
    Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(tmp_path / "photos" / "red" / "00.png")
    with pytest.raises(InputError, match="the images of folder are not those"):
        run(dataclasses.replace(tiny, data=data, train=train, network=network, augmentations=("none",)))


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_real_datasets(tiny, name):
    folder = ROOT.parent / "shared" / "data" / "tensorflow_datasets"
    if not (folder / name).exists():
        pytest.skip(f"{name} is not in {folder}")
    pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")
    data = DataConfig(name=name, data_dir=folder, train_images=60, test_images=20)
    path = run(dataclasses.replace(tiny, data=data, augmentations=("both",)))
    assert len(pd.read_csv(path / "summary.csv")) == 2
