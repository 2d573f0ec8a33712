"""The cues experiment at toy size: whole, killed and resumed, on networks whose cue is known, and what it refuses."""

import dataclasses
import json
import re
import sys

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from flax.traverse_util import unflatten_dict
from PIL import Image

from cnnjax import InputError
from cnnjax.data import DataConfig, Dataset, Split, load, textured
from cnnjax.runs import cli
from cnnjax.sweep.describe import build_described
from cnnjax.sweep.network import NetworkConfig
from cnnjax.training import TrainConfig, read_arrays
from experiments import cues
from experiments.cues import cells, tables
from experiments.cues.cells import Network, most_cells
from experiments.cues.views import WHOLE, HalfGray, View, most_views, views_of

TINY = cues.Config(
    data=DataConfig(name="textured_shapes", size=16, train_images=40, test_images=24),
    networks=("cnn", "cnn_half_gray"),
    cnn=NetworkConfig.of("all_conv", widths=(4,), depth=1, downsample="max", head="average"),
    train=TrainConfig(epochs=2, batch_size=20),
    grids=(2,),
    scales=(0.1,),
    seeds=2,
)
FILES = ("summary.csv", "scores.csv", "comparisons.csv", "table.md")
CNN = "network=cnn,images=whole"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return cues.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def test_the_directory_tells_the_whole_story(whole):
    scores = pd.read_csv(whole / "scores.csv")
    titles = [view.title for view in views_of(load(TINY.data), TINY.grids, TINY.scales)]
    assert len(titles) == most_views(TINY.data, TINY.grids, TINY.scales)
    assert len(list((whole / "cells").iterdir())) == most_cells(TINY.networks)
    tested = scores[scores["trained on"] == WHOLE.title]
    assert list(tested["images"]) == 2 * titles
    trained = scores[scores["trained on"] == "the same"]
    assert set(trained["network"]) == {"CNN"}  # half grey is a training of its own
    assert len(trained) == 6  # three cues removed, three alone
    text = (whole / "table.md").read_text()
    for words in ("What is right without a cue", "Gone with the cue, or only unfamiliar", "Which cue, which network"):
        assert words in text
    for name in ("montage", "accuracies"):
        with Image.open(whole / "figures" / f"{name}.png") as figure:
            assert len(figure.getcolors(figure.width * figure.height)) > 50  # type: ignore[arg-type]
    assert "What do networks go by?" in (whole / "page.html").read_text()


def test_the_accuracy_on_grey_images_is_that_of_the_kept_networks_on_grey_images(whole):
    arrays, about = read_arrays(whole / "cells" / CNN / "weights.safetensors")
    model, test = build_described(about["network"]), load(TINY.data).test
    gray = np.round(test.images.astype(np.float64) @ [0.299, 0.587, 0.114]).astype(np.float32) / 255
    images = jnp.asarray(np.repeat(gray[..., None], 3, -1))
    accuracies = pd.read_csv(whole / "summary.csv").set_index(["cell", "seed"])["grey"]
    for seed in range(2):
        variables = unflatten_dict({name: jnp.asarray(array[seed]) for name, array in arrays.items()}, sep="/")
        answers = np.asarray(model.apply(variables, images)[0]).argmax(-1)
        assert accuracies["CNN", seed] == (answers == test.labels).mean()


def test_a_loss_is_what_information_and_unfamiliarity_make(whole):
    document = json.loads((whole / "tables.json").read_text())
    table = next(table for table in document["tables"] if table["title"].startswith("Gone with the cue"))
    summary = pd.read_csv(whole / "summary.csv").set_index(["cell", "seed"])
    for row in table["rows"]:
        mean = {name: row[name]["mean"] for name in row if isinstance(row[name], dict)}
        assert mean["lost"] == pytest.approx(mean["information"] + mean["unfamiliarity"])
        before = summary.loc["CNN", WHOLE.title].mean()
        assert mean["lost"] == pytest.approx(before - summary.loc["CNN", row["images"]].mean())
        other = summary.loc[f"CNN, {row['images']}"]
        assert mean["information"] == pytest.approx(before - other[row["images"]].mean())


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_killed_on_the_way_it_resumes_to_the_same_tables(whole, tmp_path, monkeypatch, stop_at):
    real, calls = cells.analysis.classify_all, []

    def stop(*args):
        calls.append(args)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return real(*args)

    few = dataclasses.replace(TINY, out=tmp_path / "run")
    monkeypatch.setattr(cells.analysis, "classify_all", stop)
    with pytest.raises(KeyboardInterrupt):
        cues.run(few)
    path = cues.run(few)
    for file in FILES:
        assert (path / file).read_bytes() == (whole / file).read_bytes()


@pytest.fixture
def red_and_blue(tmp_path):
    """A folder of photographs of noise, in which red outweighs blue, or the reverse."""
    random = np.random.default_rng(0)
    for name, strong in (("a red", 0), ("b blue", 2)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = random.integers(0, 180, (16, 16, 3), dtype=np.uint8)
            pixels[..., strong] += 70
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def test_a_module_of_pytorch_that_goes_by_colour_loses_all_with_colour_and_nothing_else(red_and_blue, tmp_path):
    pytest.importorskip("torch")
    data = DataConfig(name="folder", data_dir=red_and_blue)
    subject = "torch:tests.experiments.measured_networks:torch_red_or_blue"
    config = cues.Config(subjects=(subject,), data=data, grids=(4,), scales=(0.1,), out=tmp_path / "run")
    summary = pd.read_csv(cues.run(config) / "summary.csv")
    assert list(summary["cell"]) == ["torch_red_or_blue"]
    (row,) = summary.to_dict("records")
    for title in ("as they are", "smoothed, σ 1.6 px", "patches 4×4 shuffled", "pixels shuffled"):
        assert row[title] == 1
    for title in ("grey", "smoothed and grey", "patches shuffled and grey"):
        assert row[title] == 0.5  # red and blue alike, and the first of equals wins


@pytest.mark.slow
def test_a_run_is_measured_on_its_own_images(whole, tmp_path):
    config = cues.Config(subjects=(str(whole / "cells" / CNN),), grids=(2,), scales=(0.1,), out=tmp_path / "run")
    summary, before = (pd.read_csv(path / "summary.csv") for path in (cues.run(config), whole))
    mine = before[before["cell"] == "CNN"]
    for title in ("as they are", "grey", "patches 2×2 shuffled", "drawn without shape"):
        assert list(summary[title]) == list(mine[title])


def test_pairs_are_compared_by_what_they_lose():
    random = np.random.default_rng(0)
    removed = [View(cue, cue, tuple(c for c in textured.CUES if c != cue), "removed") for cue in textured.CUES]
    right = [{view.key: random.integers(0, 2, (3, 40)).astype(float) for view in (WHOLE, *removed)} for _ in range(2)]
    networks = [Network(name, of) for name, of in zip("AB", right, strict=True)]
    frame = tables.comparisons(networks, removed)
    assert frame is not None
    assert len(frame) == 2 * (2 * 3 + 3)  # three pairs of cues in two networks, a pair of networks without three cues
    for row in frame.to_dict("records"):
        if row["between"] == "cues":
            of = right["AB".index(row["where"])]
            cue_of = {"shape": "shape", "texture": "texture", "colour": "color"}
            lost = {name: (of[WHOLE.key] - of[cue]).mean() for name, cue in cue_of.items()}
        else:
            cue = "color" if row["where"] == "colour" else row["where"]
            lost = {name: (of[WHOLE.key] - of[cue]).mean() for name, of in zip("AB", right, strict=True)}
        assert row["difference"] == pytest.approx(lost[row["cell"]] - lost[row["against"]])
        assert row["n"] == (3 if row["over"] == "seeds" else 40)


def test_half_of_the_training_images_lose_their_colour_and_no_test_image():
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    split = Split(images, np.zeros(20, np.int32))
    changed = HalfGray()(Dataset("noise", split, split, ("a",), (0.5,), (0.2,), 0, ""))
    gray = (np.ptp(changed.train.images, axis=-1) == 0).all((1, 2))
    assert gray.sum() == 10
    np.testing.assert_array_equal(changed.train.images[~gray], images[~gray])
    assert changed.test is split


def test_what_is_drawn_lies_on_the_canvas_as_the_images_do():
    config = DataConfig(name="textured_shapes", size=16, canvas=21, train_images=8, test_images=8)
    data = load(config)
    views = {view.key: view for view in views_of(data, (3,), (0.1,), size=config.size)}
    plain = views["drawn-without-color"].of(data.test.images, "test").astype(float)
    inside = np.zeros((21, 21), bool)
    inside[2:18, 2:18] = True
    assert (plain[:, ~inside] == 0).all()
    luma = [0.299, 0.587, 0.114]
    off = np.abs(data.test.images.astype(float) @ luma - plain @ luma)
    assert np.quantile(off, 0.99) < 1.5  # two roundings to bytes: the same pictures, in the same place


def test_grey_images_have_no_colour_to_take():
    data = load(DataConfig(name="digits", size=8, canvas=8, train_images=20, test_images=10))
    kinds = {view.key: view.left for view in views_of(data, (2,), (0.1,))}
    assert "gray" not in kinds
    assert {cue for left in kinds.values() for cue in left} == {"shape", "texture", "tone"}
    assert cues._suited(("mlp", "vit", "vit_half_gray"), data) == ["mlp", "vit"]
    with pytest.raises(InputError, match="networks=vit_half_gray: these images are grey already; name cnn, mlp or vit"):
        cues._suited(("vit_half_gray",), data)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--networks",), "networks is empty: name at least one of cnn"),
        (("--grids",), "grids is empty"),
        (("--grids", "1"), "grids=(1,) must be at least 2"),
        (("--grids", "2", "2"), "grids has one of 2, 2 twice: give each once"),
        (("--grids", "5"), "grids has 5, which does not divide images of 32×32 pixels"),
        (("--scales", "0"), "scales=(0.0,) must be at least 0.001"),
        (("--cnn.name", "mlp"), "cnn.name=mlp must be all_conv or resnet or vgg"),
        (("--seeds", "0"), "seeds=0 must be at least 1"),
        (("nothing-here",), "subject 'nothing-here' is not a directory of a run"),
        (("--crop", "40"), "crop=40 moves images of 32 pixels out of sight"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr(cues, "sweep", None)  # long work would fail loudly
    few = ("--data.train-images", "40", "--data.test-images", "8")
    monkeypatch.setattr(sys, "argv", ["cues", *flags, *few, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        cli.main(cues.Config, cues.run, prog="cues", presets={"cifar10": cues.CIFAR10})
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_without_the_right_classes_nothing_is_measured(red_and_blue, tmp_path):
    data = DataConfig(name="folder", data_dir=red_and_blue, size=12)
    config = cues.Config(
        subjects=("jax:tests.experiments.measured_networks:function_of_three",),
        data=data,
        grids=(2,),
        out=tmp_path / "run",
    )
    with pytest.raises(InputError, match=r"needs the right classes\. No accuracy: the network has 3 classes"):
        cues.run(config)


def test_the_cifar10_preset_is_a_residual_network_with_crops_and_mirror_images():
    dataset = load(DataConfig(name="textured_shapes", train_images=128, test_images=8))
    views = views_of(dataset, cues.CIFAR10.grids, cues.CIFAR10.scales)
    plans = cues._plans(cues.CIFAR10, cues.CIFAR10.networks, views, dataset)
    assert len(plans) == 2 + 6  # whole, half grey; three cues removed, three alone
    for plan in plans.values():
        assert (plan.augmentation.crop, plan.augmentation.flip, plan.model.widths) == (4, 0.5, (16, 32, 64))
