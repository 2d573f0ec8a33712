"""The features experiment end to end at toy size, its measures by hand, interrupted and resumed, and bad input."""

import dataclasses
import itertools
import re
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnjax import InputError, analysis
from cnnjax.data import DataConfig, load
from cnnjax.runs import cli
from cnnjax.stats import over_seeds
from cnnjax.sweep.network import NetworkConfig
from cnnjax.training import TrainConfig, read_arrays
from experiments import features
from experiments.features import cells as feature_cells
from experiments.features.report import over_pairs

FLAGS = (
    *("--data.size", "16", "--data.train-images", "72", "--data.test-images", "48"),
    *("--network.widths", "4", "8", "--network.depth", "1", "--train.epochs", "1", "--train.batch-size", "24"),
    *("--seeds", "2", "--images", "30", "--probe-images", "60", "--top", "3"),
)
TINY = features.Config(
    data=DataConfig(name="coloured_shapes", size=16, train_images=72, test_images=48),
    network=NetworkConfig.of("all_conv", widths=(4, 8), depth=1),
    train=TrainConfig(epochs=1, batch_size=24),
    seeds=2,
    images=30,
    probe_images=60,
    top=3,
)
LAYERS = ["pixels", "stage1_conv1", "stage2_conv1", "head_conv1", "head_conv2", "class_maps", "logits"]
NETWORKS = [("start", 0), ("start", 1), ("trained", 0), ("trained", 1)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return features.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture(scope="module")
def network(whole):
    """The trained network of seed 1, as images to activations, and the dataset."""
    dataset = load(TINY.data)
    model = features.build(TINY.network, dataset)
    like = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32))
    arrays, _ = read_arrays(whole / "cells" / "networks" / "weights.safetensors")
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(like)]
    variables = jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(arrays[name][1]) for name in names])
    return jax.jit(lambda images: {"pixels": images, **model.apply(variables, images)[1]}), dataset


def pixels(images):
    return images.astype(np.float32) / 255


@pytest.mark.slow
def test_from_another_first_seed_it_is_what_these_seeds_give(whole, tmp_path):
    path = features.run(dataclasses.replace(TINY, seeds=1, first_seed=1, out=tmp_path / "run"))
    expected = pd.read_csv(whole / "units.csv").query("seed == 1").reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_csv(path / "units.csv"), expected)


def test_the_directory_tells_the_whole_story(whole):
    summary = pd.read_csv(whole / "summary.csv")
    rows = list(summary[["state", "seed", "layer"]].itertuples(index=False, name=None))
    assert rows == [(*network, layer) for network in NETWORKS for layer in LAYERS]
    units = pd.read_csv(whole / "units.csv")
    assert len(units) == 4 * (3 + 4 + 8 + 8 + 8 + 24 + 24)
    # Rectified layers alone have a selectivity; scores can be negative.
    rectified = summary.dropna(subset=["selectivity.hue"])["layer"].to_numpy()
    assert sorted(rectified) == sorted(LAYERS[:5] * len(NETWORKS))
    table = (whole / "table.md").read_text()
    assert re.search(r"\| stage2_conv1 \| +\d+\.\d ± \d", table)
    assert re.search(r"\| stage2_conv1 \| +\d+\.\d ± \d+\.\d \(n = 2\) \(\d+\) \|", table)
    for name in ("similarity", "depth", "training"):
        with Image.open(whole / "figures" / f"{name}.png") as figure:
            assert len(figure.getcolors(figure.width * figure.height)) > 50  # type: ignore[arg-type]


def test_similarities_are_those_of_the_networks(whole, network):
    forward, dataset = network
    matrix = read_arrays(whole / "cells" / "networks" / "similarity.safetensors")[0]["cka"]
    side = len(NETWORKS) * len(LAYERS)
    assert matrix.shape == (side, side)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-5)
    seen = forward(pixels(dataset.test.images[:30]))
    for i, a in enumerate(LAYERS):
        for j, b in enumerate(LAYERS):
            value = matrix[3 * len(LAYERS) + i, 3 * len(LAYERS) + j]
            assert value == pytest.approx(float(analysis.cka(seen[a], seen[b], unbiased=True)), abs=1e-4)
    summary = pd.read_csv(whole / "summary.csv").set_index(["state", "seed", "layer"])
    np.testing.assert_allclose(summary.loc[("trained", 0, "pixels"), ["cka.other_seeds", "cka.start"]], 1, atol=1e-5)
    assert summary.loc[("trained", 1, "head_conv1"), "cka.other_seeds"] == pytest.approx(
        matrix[3 * len(LAYERS) + 3, 2 * len(LAYERS) + 3]
    )
    assert summary.loc[("trained", 1, "logits"), "cka.start"] == pytest.approx(
        matrix[4 * len(LAYERS) - 1, 2 * len(LAYERS) - 1]
    )
    pairs = pd.read_csv(whole / "similarity.csv").set_index(["first", "second", "first_layer", "second_layer"])
    both = [matrix[0 * 7 + 1, 2 * 7 + 2], matrix[1 * 7 + 1, 3 * 7 + 2]]
    assert pairs.loc[("start", "trained", "stage1_conv1", "stage2_conv1"), "cka.same_seed"] == pytest.approx(
        np.mean(both), abs=1e-6
    )


def test_probes_read_means_over_quarters_of_the_map(whole, network):
    from sklearn.linear_model import LogisticRegression

    forward, dataset = network
    summary = pd.read_csv(whole / "summary.csv").set_index(["state", "seed", "layer"])
    for layer in ("pixels", "stage1_conv1"):
        quarters = []
        for images in (dataset.train.images[:60], dataset.test.images):
            maps = np.asarray(forward(pixels(images))[layer], np.float64)
            half = maps.shape[1] // 2
            parts = [maps[:, i : i + half, j : j + half].mean((1, 2)) for i in (0, half) for j in (0, half)]
            quarters.append(np.concatenate(parts, 1))
        train, test = quarters
        mean, std = train.mean(0), train.std(0)
        fit = LogisticRegression(max_iter=5000).fit((train - mean) / std, dataset.train.labels[:60] % 8)
        expected = fit.score((test - mean) / std, dataset.test.labels % 8)
        # One image in 48 may lie on a boundary.
        assert summary.loc[("trained", 1, layer), "probe.kind"] == pytest.approx(expected, abs=1.5 / 48)


def test_the_strongest_images_are_those_of_top_activations(whole, network):
    forward, dataset = network
    images, labels = dataset.test.images[:30], dataset.test.labels[:30] // 8
    found = analysis.top_activations(forward, pixels(images), "stage2_conv1", k=3, rule=None)
    units = pd.read_csv(whole / "units.csv").query("state == 'trained' and seed == 1 and layer == 'stage2_conv1'")
    for unit, best in enumerate(found.images):
        if found.values[unit].min() > 0:  # silent maps rank by nothing
            assert units["purity.hue"].iloc[unit] == pytest.approx(np.bincount(labels[best]).max() / 3)
    assert units["purity.hue"].between(1 / 3, 1).sum() > 4


def test_units_by_hand():
    labels = {"class": np.repeat([3, 5, 9], 4)}
    mean = np.zeros((12, 4))
    mean[:4, 0] = 2.0  # fires for the class 3 alone
    mean[:, 1] = 1.0  # for all alike
    mean[7, 2] = 5.0  # for one image, of class 5
    found = feature_cells.units(mean, mean, labels, top=4)
    np.testing.assert_allclose(found["selectivity.class"], [1, 0, 1, np.nan])
    np.testing.assert_allclose(found["sparseness"], [(1 - 1 / 3) / (1 - 1 / 12), 0, 1, np.nan], atol=1e-12)
    assert list(found["preferred.class"][[0, 2, 3]]) == [3, 5, -1]
    assert found["purity.class"][0] == 1
    assert found["silent"] == 0.25
    # By chance the top four of twelve images are of one class in 3 of 495 draws.
    assert found["purity_by_chance.class"][0] < 0.8
    unknown = feature_cells.units(np.full((12, 2), np.nan), mean[:, :2], labels, top=4)
    assert all(np.isnan(unknown[name]).all() for name in ("silent", "sparseness", "purity.class"))


def test_cells_of_a_map_that_does_not_divide():
    rows = feature_cells._windows(7, 2)
    np.testing.assert_allclose(rows, [[0.25] * 4 + [0] * 3, [0] * 3 + [0.25] * 4])
    np.testing.assert_allclose(feature_cells._windows(6, 3) @ np.arange(6), [0.5, 2.5, 4.5])


def test_other_images_have_their_classes_alone():
    dataset = load(DataConfig(train_images=10, test_images=10))
    assert list(feature_cells.tasks(dataset)) == ["class"]


@pytest.mark.slow
def test_interrupted_anywhere_it_resumes_to_the_same_tables(whole, tmp_path, monkeypatch, capsys):
    config = dataclasses.replace(TINY, out=tmp_path / "run")
    folder = tmp_path / "run" / "cells" / "networks"
    shutil.copytree(whole, tmp_path / "run")
    # Killed when the networks were trained and one of them was measured.
    for file in (
        *folder.glob("*-[01].safetensors"),
        folder / "similarity.safetensors",
        *folder.parents[1].glob("*.*v"),
    ):
        if file.name != "features-start-0.safetensors":
            file.unlink()
    monkeypatch.setattr("cnnjax.sweep.cell.train_together", None)
    for place, calls in ((feature_cells, "measure"), (feature_cells, "similarity")):
        real, seen = getattr(place, calls), []

        def stopped(*args, real=real, seen=seen):
            seen.append(args)
            if len(seen) == (2 if real.__name__ == "measure" else 1):
                raise KeyboardInterrupt
            return real(*args)

        monkeypatch.setattr(place, calls, stopped)
        with pytest.raises(KeyboardInterrupt):
            features.run(config)
        monkeypatch.setattr(place, calls, real)
    assert not (folder / "similarity.safetensors").exists()
    monkeypatch.setattr(feature_cells, "measure", None)
    capsys.readouterr()
    path = features.run(config)
    assert capsys.readouterr().err.count("finished earlier") == 5
    for name in ("summary.csv", "units.csv", "similarity.csv", "table.md"):
        assert (path / name).read_bytes() == (whole / name).read_bytes()


def test_the_interval_of_a_mean_over_pairs_is_that_of_its_jackknife():
    random, n = np.random.default_rng(0), 6
    pairs = random.uniform(size=(n, n))
    pairs = (pairs + pairs.T) / 2
    others = ~np.eye(n, dtype=bool)

    def mean_over_pairs(networks):
        return np.mean([pairs[i, j] for i, j in itertools.combinations(networks, 2)])

    whole = mean_over_pairs(range(n))
    pseudo = [n * whole - (n - 1) * mean_over_pairs([i for i in range(n) if i != left]) for left in range(n)]
    found = over_pairs(np.array([pairs[i][others[i]].mean() for i in range(n)]))
    np.testing.assert_allclose(found[:4], over_seeds(pseudo)[:4])
    assert found.mean == pytest.approx(whole)
    # Where a network adds its own part to all its pairs, their mean is that of twice the parts.
    parts = random.normal(size=n)
    means = parts + (parts.sum() - parts) / (n - 1)
    np.testing.assert_allclose(over_pairs(means)[:3], over_seeds(2 * parts)[:3])
    assert np.isnan(over_pairs(np.array([0.5, 0.5])).low)


def test_a_training_that_diverges_ends_in_one_sentence(tmp_path):
    hot = dataclasses.replace(TINY.train, learning_rate=1e30)
    with pytest.raises(InputError, match=r"every cell failed, so there is nothing to report\. networks failed: the "):
        features.run(dataclasses.replace(TINY, train=hot, out=tmp_path / "run"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--seeds", "0"), "seeds=0 must be at least 1"),
        (("--images", "3"), "images=3 must be at least 4"),
        (("--images", "49"), "images=49 of 48 test images: give fewer"),
        (("--probe-images", "73"), "probe_images=73 of 72 train images: give fewer"),
        (("--cells", "0"), "cells=0 must be at least 1"),
        (("--top", "31"), "top=31 of images=30: give fewer of the first"),
        (("--crop", "-1"), "crop=-1 must be at least 0"),
        (("--network.no-residual",), "network.residual has no meaning for all_conv"),
        (("--train.batch-size", "100"), "train.batch_size=100 is larger than the training set"),
        (("--preset", "papre"), "invalid choice 'papre'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr(features, "sweep", None)  # long work would fail loudly
    monkeypatch.setattr(sys, "argv", ["features", *FLAGS, *flags, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        cli.main(features.Config, features.run, prog="features", presets={"paper": features.PAPER})
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
