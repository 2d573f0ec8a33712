"""The main job end to end at toy size: whole, killed and resumed, failed in one cell, and from every kind of data."""

import contextlib
import dataclasses
import io
import json
import shutil
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
from cnnjax.runs import read_config, read_metrics
from cnnjax.sweep.network import NetworkConfig
from cnnjax.training import read_arrays
from experiments.augmentation import run
from tests.experiments.conftest import TINY, TINY_FLAGS, environment
from tests.repeats import repeated

ROOT = Path(__file__).parents[2]


def command(out):
    flags = (*TINY_FLAGS, "--augmentations", "none", "both", "--out", str(out))
    return [sys.executable, "-m", "experiments.augmentation", *flags]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One uninterrupted run, and what it printed."""
    path = tmp_path_factory.mktemp("whole") / "run"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert run(dataclasses.replace(TINY, out=path)) == path
    return path, out.getvalue(), err.getvalue()


def says_how_it_went(printed):
    lines = printed.splitlines()
    for row in ("none", "both"):
        assert any(line.split()[0] == row and "±" in line for line in lines if line.split())
    assert "n = 2 seeds" in printed.replace("\n", " ")


def test_a_run_prints_a_table_and_says_what_takes_long(whole):
    _, out, err = whole
    says_how_it_went(out)
    assert "compiling the training step" in err
    assert err.index("10 classes, images to train + to test: 0: ") < err.index("compiling the training step")


def test_the_directory_tells_the_whole_story(whole):
    path, *_ = whole
    config = read_config(path)
    assert config["config"]["data"]["train_images"] == 60
    assert {"jax", "cnnjax", "python"} <= set(config["versions"])
    summary = pd.read_csv(path / "summary.csv")
    assert list(zip(summary["cell"], summary["seed"], summary["status"], strict=True)) == [
        (f"augmentation={kind}", seed, "ok") for kind in ("none", "both") for seed in (0, 1)
    ]
    assert len(read_metrics(path)) == 2 * (2 + 2 * 2)  # seeds, epochs of one chunk: twice as many for both
    assert {figure.name for figure in (path / "figures").iterdir()} == {
        "rotation.png",
        "translation.png",
        "scores.png",
        "training.png",
    }
    for figure in (path / "figures").iterdir():
        Image.open(figure).verify()


def test_the_summary_follows_from_the_stored_predictions(whole):
    path, *_ = whole
    summary = pd.read_csv(path / "summary.csv").set_index(["cell", "seed"])
    scores = pd.read_csv(path / "scores.csv").set_index(["cell", "score"])
    from cnnjax.data import load

    labels = load(DataConfig(train_images=60, test_images=20), max_shift=1).test.labels
    for cell in ("augmentation=none", "augmentation=both"):
        arrays, _ = read_arrays(path / "cells" / cell / "predictions.safetensors")
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
    path, *_ = whole
    summary = pd.read_csv(path / "summary.csv").pivot(index="seed", columns="cell")
    rows = pd.read_csv(path / "comparisons.csv")
    assert set(rows["cell"]) == {"augmentation=both"}
    assert set(rows["against"]) == {"augmentation=none"}
    rows = rows.set_index(["over", "score"])
    assert len(rows.loc["seeds"]) == 7
    for score in ("test.accuracy", "rotation.mean_accuracy", "shift_zero.consistency"):
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


@pytest.mark.parametrize("patiences", repeated([((0.4,),), ((0.0, 0.4, 0.0),)]))
def test_killed_at_any_instant_the_command_resumes_to_the_same_summary(whole, tmp_path, patiences):
    out = tmp_path / "run"
    kills = 0
    for patience in patiences:
        process = subprocess.Popen(
            command(out),
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
    assert kills >= min(2, len(patiences))
    result = subprocess.run(
        command(out), cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=280
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(out)
    says_how_it_went(result.stdout)
    assert "experiments.augmentation" in read_config(out)["command"]
    assert (out / "summary.csv").read_bytes() == (whole[0] / "summary.csv").read_bytes()
    assert not list(out.glob("cells/*/state.safetensors"))


def snapshot(out):
    return {(path.name, path.stat().st_size) for path in out.rglob("*") if path.is_file()} if out.exists() else set()


@pytest.fixture
def finished(whole, tiny):
    """The settings of a finished run in a directory of its own."""
    shutil.copytree(whole[0], tiny.out)
    return tiny


def test_a_finished_run_is_not_trained_again(finished, capsys, monkeypatch):
    before = (finished.out / "summary.csv").read_bytes()
    monkeypatch.setattr("cnnjax.sweep.cell.train_together", None)
    assert run(finished) == finished.out
    captured = capsys.readouterr()
    assert captured.err.count("finished earlier") == 2
    assert "augmentation" in captured.out
    assert (finished.out / "summary.csv").read_bytes() == before


def test_without_matplotlib_all_but_the_figures_is_there(finished, monkeypatch, capsys):
    (finished.out / "summary.csv").unlink()
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="need matplotlib"):
        run(finished)
    assert len(pd.read_csv(finished.out / "summary.csv")) == 4
    assert "±" in capsys.readouterr().out


def test_a_cell_killed_in_measuring_keeps_its_training(finished, monkeypatch):
    path = finished.out
    before = (path / "summary.csv").read_bytes()
    (path / "cells" / "augmentation=both" / "predictions.safetensors").unlink()
    (path / "summary.csv").unlink()
    monkeypatch.setattr("cnnjax.sweep.cell.train_together", None)
    assert (run(finished) / "summary.csv").read_bytes() == before


def test_a_diverging_cell_is_marked_and_the_sweep_goes_on(tiny, monkeypatch, capsys):
    from cnnjax.sweep import cell

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
    failure = json.loads((path / "cells" / "augmentation=none" / "failure.json").read_text())["value"]
    assert failure["networks"] == tiny.seeds
    assert "lower the learning rate" in failure["why"]
    before = (path / "summary.csv").read_bytes()
    monkeypatch.setattr(cell, "train_together", None)
    assert (run(tiny) / "summary.csv").read_bytes() == before


def test_a_sweep_of_which_nothing_is_left_says_so(tiny):
    hot = dataclasses.replace(tiny.train, learning_rate=1e30)
    with pytest.raises(InputError, match="every cell failed"):
        run(dataclasses.replace(tiny, train=hot, augmentations=("none",)))
    assert pd.read_csv(tiny.out / "summary.csv")["status"].str.contains("lower the learning rate").all()


@pytest.mark.slow
def test_rendered_shapes_and_a_perceptron(tiny):
    network = NetworkConfig.of("mlp", widths=(8,))
    data = DataConfig(name="shapes", train_images=60, test_images=20)
    path = run(dataclasses.replace(tiny, data=data, network=network, augmentations=("crop",), seeds=1))
    summary = pd.read_csv(path / "summary.csv")
    assert "rotation.mean_accuracy" in summary
    assert "shift_crop.mean_accuracy" not in summary  # a perceptron takes images of one size


@pytest.mark.slow
def test_a_folder_of_colour_photos(tiny, tmp_path):
    random = np.random.default_rng(0)
    for label, channel in (("blue", 2), ("red", 0)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for index in range(15):
            pixels = random.integers(0, 60, (10, 12, 3), np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{index:02}.png")
    data = DataConfig(name="folder", data_dir=tmp_path / "photos", size=16)
    config = dataclasses.replace(
        tiny,
        data=data,
        train=dataclasses.replace(tiny.train, epochs=8, batch_size=6),
        network=NetworkConfig.of("resnet", widths=(4,), depth=1, padding="circular"),
        protocol=dataclasses.replace(tiny.protocol, orbits=("shift_crop",)),
        augmentations=("none",),
    )
    path = run(config)
    summary = pd.read_csv(path / "summary.csv")
    assert (summary["test.accuracy"] == 1).all()
    assert (summary["shift_crop.mean_accuracy"] == 1).all()
    # The same command on other images is refused rather than scored against the old predictions.
    Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(tmp_path / "photos" / "red" / "00.png")
    with pytest.raises(InputError, match="the images of folder are not those"):
        run(config)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_real_datasets(tiny, name):
    folder = ROOT.parent / "shared" / "data" / "tensorflow_datasets"
    if not (folder / name).exists():
        pytest.skip(f"{name} is not in {folder}")
    pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")
    data = DataConfig(name=name, data_dir=folder, train_images=60, test_images=20)
    protocol = dataclasses.replace(tiny.protocol, orbits=("shift_crop",))
    path = run(dataclasses.replace(tiny, data=data, protocol=protocol, augmentations=("both",), seeds=1))
    assert len(pd.read_csv(path / "summary.csv")) == 1
