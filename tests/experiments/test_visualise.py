"""The visualisation end to end at toy size: its own training, a run of another experiment, weights from elsewhere."""

import dataclasses
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

from cnnjax import InputError, analysis, models
from cnnjax.data import DataConfig, load
from cnnjax.runs import Progress, cli, open_run
from cnnjax.runs.folder import Folder
from cnnjax.sweep.describe import describe
from cnnjax.sweep.network import NetworkConfig
from cnnjax.training import TrainConfig, load_tree, read_arrays
from experiments import visualise
from experiments.borders.red_green import RedGreenNet
from experiments.shared import kept_networks
from experiments.shared import strongest as visualise_layers
from experiments.shared import subject as subjects
from experiments.shared import unit_checks as visualise_checks
from experiments.visualise import Config
from tests.experiments.conftest import environment

ROOT = Path(__file__).parents[2]
FLAGS = (
    *("--data.train-images", "60", "--data.test-images", "30", "--data.size", "10", "--data.canvas", "12"),
    *("--network.widths", "4", "4", "--train.epochs", "20", "--train.batch-size", "20"),
    *("--layer", "stage2_conv1", "--maps", "2", "--k", "4", "--check-images", "4", "--snapshots", "0", "1", "21"),
)
TINY = Config(
    data=DataConfig(train_images=60, test_images=30, size=10, canvas=12),
    network=NetworkConfig.of("all_conv", widths=(4, 4), depth=1, downsample="max"),
    train=TrainConfig(epochs=20, batch_size=20),
    layer=("stage2_conv1",),
    maps=2,
    k=4,
    check_images=4,
    snapshots=(0, 1, 21),
)
TABLES = ("summary.csv", "checks.csv", "table.md")


def command(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["visualise", *map(str, flags)])
    cli.main(visualise.Config, visualise.run, prog="visualise")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One uninterrupted run."""
    return visualise.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def test_networks_of_earlier_runs_are_found_where_they_are_now():
    described = describe(RedGreenNet(padding="circular"))
    assert described["class"] == "experiments.borders.red_green:RedGreenNet"
    assert kept_networks.moved(described | {"class": "experiments.parts.borders.red_green:RedGreenNet"}) == described


def test_the_run_holds_the_strongest_units_and_what_follows_from_them(whole):
    arrays, _ = read_arrays(whole / "cells" / "layer=stage2_conv1" / "arrays.safetensors")
    subject = kept_networks.of_cell(Folder(whole / "cells" / "training"), 0, _digits(), title="")
    maps = np.asarray(subject.forward()(jnp.asarray(subject.floats(slice(None))))["stage2_conv1"])
    best = maps.max((1, 2))
    order = np.argsort(-best, axis=0, kind="stable")[:4].T
    np.testing.assert_array_equal(arrays["images"], order)
    np.testing.assert_allclose(arrays["values"], np.take_along_axis(best.T, order, 1), rtol=1e-5)
    summary = pd.read_csv(whole / "summary.csv").iloc[0]
    labels = subject.images.labels
    alive = arrays["values"][:, 0] > 0
    shares = [np.bincount(labels[row]).max() / 4 for row in order[alive]]
    assert summary["alive"] == alive.sum()
    assert summary["purity"] == pytest.approx(np.mean(shares))
    past, _ = read_arrays(whole / "cells" / "past=stage2_conv1" / "arrays.safetensors")
    assert past["epochs"].tolist() == [0, 1]  # a training of 20 epochs has no 21st
    start, _ = load_tree(whole / "cells" / "training" / "epoch0000.safetensors", _stacked(subject.variables))
    at_start = analysis.top_activations(
        subject.forward(jax.tree.map(lambda a: a[0], start)),
        subject.images.pixels,
        "stage2_conv1",
        k=1,
        channels=arrays["maps"][arrays["shown"]].tolist(),
        rule=None,
    )
    np.testing.assert_array_equal(past["images"][0], at_start.images[:, 0])


def _digits():
    return kept_networks.of_dataset(load(TINY.data))


def _stacked(tree):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape), a.dtype), tree)


def test_the_page_stands_alone_and_says_what_the_checks_came_to(whole):
    names = {figure.stem for figure in (whole / "figures").iterdir()}
    assert names == {
        *("montage_stage2_conv1", "evolution_stage2_conv1", "filters", "occlusion", "invariance", "confidence"),
        *("cascade", "cascade_pictures"),
    }
    page = (whole / "page.html").read_text()
    assert page.count("data:image/png;base64,") == len(names)
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    text = re.sub(r"\s+", " ", page)
    for title in ("What of the pictures survives other weights", "Do the pixels that count decide the class?"):
        assert title in text
    for row in ("gradient", "deconvnet", "guided", "Grad-CAM", "random", "centre"):
        assert f'<th scope="row">{row}</th>' in text
    checks = pd.read_csv(whole / "checks.csv")
    assert {"cascade", "recovery", "perturbation", "pointing"} == set(checks["check"])
    assert checks["mean"].between(-1, 1).all()
    assert "| deconvnet " in (whole / "table.md").read_text()


@pytest.mark.slow
def test_what_is_finished_is_not_done_again_and_gives_the_same_tables(whole, tmp_path, monkeypatch, capsys):
    out = shutil.copytree(whole, tmp_path / "run")
    for name in TABLES:
        (out / name).unlink()
    monkeypatch.setattr("cnnjax.sweep.cell.train_together", None)
    monkeypatch.setattr(visualise_layers, "strongest", None)
    command(monkeypatch, *FLAGS, "--out", out)
    assert capsys.readouterr().err.count("finished earlier") == 9
    for name in TABLES:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_tables(whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.visualise", *FLAGS, "--out", str(out)],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 250
    while process.poll() is None and not (out / "cells" / "training" / "weights.safetensors").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    monkeypatch.setattr("cnnjax.sweep.cell.train_together", None)  # what was finished is not done again
    command(monkeypatch, *FLAGS, "--out", out)
    assert "training: finished earlier" in capsys.readouterr().err
    monkeypatch.setattr(visualise_layers, "strongest", None)
    command(monkeypatch, *FLAGS, "--out", out)
    assert capsys.readouterr().err.count("finished earlier") == 9
    for name in TABLES:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_a_network_of_a_run_and_a_folder_of_images(whole, tmp_path, monkeypatch):
    """Any run whose cells keep weights, also this one; classes are then the network's own answers."""
    photos = tmp_path / "photos" / "deep"
    photos.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(30):  # as many as above: the same programs
        Image.fromarray(random.integers(0, 255, (20, 14), np.uint8)).save(photos / f"{number:02}.png")
    seen = []
    for name in ("cascades", "recoveries", "perturbations", "pointing"):  # tested above
        monkeypatch.setattr(
            visualise_checks,
            name,
            lambda subject, *rest, name=name: (
                seen.append(subject) or dict(read_arrays(whole / "cells" / CELLS[name] / "arrays.safetensors")[0])
            ),
        )
    flags = ("--run", whole, "--images", photos.parent, "--layer", "stage2_conv1", "--k", "4", "--check-images", "4")
    command(monkeypatch, *flags, "--out", tmp_path / "run")
    assert seen[0].images.pixels.shape == (30, 12, 12, 1)
    assert sorted(seen[0].snapshots) == [0, 1]
    summary = pd.read_csv(tmp_path / "run" / "summary.csv")
    assert summary["layer"].tolist() == ["stage2_conv1"]
    assert "purity" not in summary
    assert (tmp_path / "run" / "page.html").exists()

    # The same command on other images is refused.
    Image.fromarray(np.zeros((20, 14), np.uint8)).save(photos / "00.png")
    with pytest.raises(SystemExit):
        command(monkeypatch, *flags, "--out", tmp_path / "run")


CELLS = {"cascades": "cascade", "recoveries": "recovery", "perturbations": "perturbation", "pointing": "pointing"}


@pytest.mark.slow
def test_a_folder_whose_images_have_changed_is_refused_on_resume(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()

    def photograph(number):
        image = Image.fromarray(random.integers(0, 255, (12, 12), np.uint8))
        image.save(tmp_path / "photos" / f"{number}.png")

    for number in range(4):
        photograph(number)
    train = dataclasses.replace(TINY.train, epochs=1)
    config = dataclasses.replace(TINY, train=train, snapshots=(0,), images=tmp_path / "photos")

    def begin():
        with open_run("visualise", config, out=tmp_path / "run") as run, Progress(1) as progress:
            visualise._subject(run, config, progress)

    begin()
    begin()
    photograph(3)
    with pytest.raises(InputError, match="the weights or the images are not those"):
        begin()


@pytest.mark.slow
def test_weights_from_elsewhere(tmp_path):
    model = models.resnet18(num_classes=3, mean=models.weights.IMAGENET_MEAN, std=models.weights.IMAGENET_STD)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    models.save_weights("resnet18", tmp_path / "w.safetensors", variables)
    Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(tmp_path / "a.png")
    subject = kept_networks.of_weights("resnet18", tmp_path / "w.safetensors", tmp_path)
    assert subject.images.pixels.shape == (1, 224, 224, 3)
    fields = subjects.map_fields(subject.apply, subject.variables, subject.images.pixels)
    assert list(fields)[:3] == ["conv1", "pool1", "stage1_block1"]
    assert fields["stage4_block2"].size == (435, 435)
    assert subject.class_name(2) == "class 2"


def test_extent_and_purity():
    picture = np.zeros((9, 9, 1))
    picture[4, 2:7, 0] = 1, -1, 1, -1, 1
    assert visualise_layers.extent(picture) == pytest.approx(4)
    assert np.isnan(visualise_layers.extent(0 * picture))
    labels = np.array([0, 1, 2, 0, 1, 2, 2])
    assert visualise_layers.purity(np.array([[0, 3, 1], [2, 5, 6]]), labels).tolist() == [2 / 3, 1]
    # Two of four, of two classes of two: the same class in 2 of 6 pairs.
    assert visualise_layers.chance_purity(np.array([0, 0, 1, 1]), 2) == pytest.approx(2 / 3, abs=0.02)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--k", "31"), "k=31 is larger than the dataset of 30 images"),
        (("--k", "0"), "k=0 must be at least 1"),
        (("--layer", "stage2_conv"), "layer='stage2_conv' is unknown; use one of"),
        (("--layer", "logits"), "layer='logits' is unknown"),
        (("--network.activation", "gelu"), "has no rectifier"),
        (("--network.name", "mlp"), "this network has no maps"),
        (("--snapshots", "2", "2"), "must be epochs from 0 on, each once"),
        (("--run", "nowhere"), "nowhere/config.json does not exist"),
        (("--weights", "w.safetensors"), "weights and model go together"),
        (("--model", "resnet34"), "weights and model go together"),
        (("--weights", "w.safetensors", "--model", "resnet34"), "weights=w.safetensors does not exist"),
        (("--cell", "a"), "cell='a' without a run"),
        (("--images", "nowhere"), "images=nowhere is not a folder"),
        (("--images", ROOT / "cnnjax"), "has no images"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr("cnnjax.sweep.cell.train_together", None)
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, *FLAGS, *flags, "--out", tmp_path / "run")
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--cell", "trainign"), "cell='trainign' is unknown; use one of training"),
        (("--seed", "1"), "seed=1: training has networks from 0 to 0"),
        (("--weights", "w", "--model", "resnet18"), "run and weights are both given"),
    ],
)
def test_bad_input_about_a_run(whole, flags, message, tmp_path, monkeypatch, capsys, without_type_checks):
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, "--run", whole, *flags, "--out", tmp_path / "run")
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_an_unreadable_image_and_a_network_that_is_not_finite(whole, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(visualise.InputError, match=r"torn.png cannot be read"):
        kept_networks.folder_images(tmp_path, side=8, channels=1)
    subject = kept_networks.of_cell(Folder(whole / "cells" / "training"), 0, _digits(), title="")
    broken = jax.tree.map(lambda a: a * jnp.nan, subject.variables)
    with pytest.raises(visualise.InputError, match=r"the weights .* contain NaN or infinity"):
        dataclasses.replace(subject, variables=broken)
