"""The data efficiency experiment: fewer images, pixels in another order, and the whole of it at toy size."""

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
from cnnjax.data import DataConfig, Dataset, Split, load
from cnnjax.runs import cli
from cnnjax.sweep.network import NetworkConfig
from cnnjax.training import TrainConfig, read_arrays
from experiments import data_efficiency
from experiments.data_efficiency import Fewer, balanced, move, permute
from experiments.data_efficiency.local_network import LocalNetwork
from tests.drawn import drawn_variables

SMALL = data_efficiency.Config(
    data=DataConfig(train_images=400, test_images=200, size=8, canvas=12),
    move=2,
    networks=("mlp", "cnn"),
    mlp=NetworkConfig.of("mlp", widths=(32,)),
    cnn=NetworkConfig.of("all_conv", widths=(16,), depth=1),
    images=(100,),
    widths=(),
    train=TrainConfig(epochs=8, batch_size=40, optimizer="adamw", learning_rate=1e-2),
    draws=4,
)
TINY = dataclasses.replace(
    SMALL, networks=("mlp",), images=(10,), widths=(0.5, 1), draws=2, train=dataclasses.replace(SMALL.train, epochs=2)
)


@pytest.fixture(scope="module")
def dataset():
    return load(dataclasses.replace(SMALL.data, canvas=8))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with jax.numpy_dtype_promotion("standard"):  # optax itself raises a float to an integer power
        return data_efficiency.run(dataclasses.replace(SMALL, out=tmp_path_factory.mktemp("whole") / "run"))


def test_draws_are_even_over_the_classes_nested_and_their_own():
    labels = np.random.default_rng(3).permutation(np.repeat(np.arange(4), (30, 20, 10, 5)))
    for count in (4, 6, 20, 65):
        counts = np.bincount(labels[balanced(labels, count, 0)], minlength=4)
        assert counts.sum() == count
        # Level water in vessels of 30, 20, 10 and 5: some classes may have one more than the level, none has less.
        level = max(level for level in range(31) if np.minimum(level, (30, 20, 10, 5)).sum() <= count)
        assert (counts >= np.minimum(level, (30, 20, 10, 5))).all()
        assert (counts <= np.minimum(level + 1, (30, 20, 10, 5))).all()
        np.testing.assert_array_equal(balanced(labels, 65, 0)[:count], balanced(labels, count, 0))
    assert sorted(balanced(labels, 65, 1)) == list(range(65))
    assert list(balanced(labels, 20, 0)) != list(balanced(labels, 20, 1))


def test_a_later_first_draw_has_the_later_cells():
    names = [
        [cell.name for cell in data_efficiency.treatments(config, 400)]
        for config in (dataclasses.replace(TINY, draws=3), dataclasses.replace(TINY, draws=1, first_draw=2))
    ]
    assert names[1] == [name for name in names[0] if name.endswith("draw=2")]


def test_fewer_images_fill_the_same_epoch_each_as_often(dataset):
    few = Fewer(30, draw=2, permuted=False)(dataset)
    assert len(few.train.images) == len(few.train.labels) == 400
    images, counts = np.unique(few.train.images.reshape(400, -1), axis=0, return_counts=True)
    assert len(images) == 30
    assert set(counts) == {13, 14}
    known = {image.tobytes(): label for image, label in zip(dataset.train.images, dataset.train.labels, strict=True)}
    assert all(known[i.tobytes()] == label for i, label in zip(few.train.images, few.train.labels, strict=True))
    np.testing.assert_array_equal(few.test.images, dataset.test.images)


def test_every_image_is_moved_whole_to_a_place_of_its_own():
    images = np.zeros((500, 9, 9, 2), np.uint8)
    images[:, 3:6, 3:6] = np.random.default_rng(0).integers(1, 255, (500, 3, 3, 2))
    moved = move(images, 3, seed=0)
    places = []
    for before, after in zip(images, moved, strict=True):
        down, along = (np.flatnonzero(after.any((1 - axis, 2)))[0] for axis in (0, 1))
        np.testing.assert_array_equal(after[down : down + 3, along : along + 3], before[3:6, 3:6])
        assert after.sum(dtype=int) == before.sum(dtype=int)
        places.append((down, along))
    assert set(places) == {(down, along) for down in range(7) for along in range(7)}
    np.testing.assert_array_equal(move(images[:5], 3, seed=0), moved[:5])


def test_pixels_change_places_alike_in_all_images_and_keep_their_channels():
    places = np.arange(20 * 3).reshape(1, 4, 5, 3)
    moved = permute(np.concatenate([places, places + 100]))
    np.testing.assert_array_equal(moved[1], moved[0] + 100)
    pixels = moved[0].reshape(20, 3)
    np.testing.assert_array_equal(pixels % 3, np.tile([0, 1, 2], (20, 1)))
    assert sorted(pixels[:, 0] // 3) == list(range(20))
    assert list(pixels[:, 0] // 3) != list(range(20))


@jax.numpy_dtype_promotion("standard")  # optax itself raises a float to an integer power
@pytest.mark.parametrize("optimizer", [optax.sgd(0.02, momentum=0.9), optax.adamw(1e-2, weight_decay=0.1)])
def test_a_perceptron_of_permuted_pixels_is_the_perceptron_with_its_first_weights_permuted(dataset, optimizer):
    """Exactly so, through training: the gradient of permuted weights is the permuted gradient."""
    with jax.enable_x64(True):
        ordered = dataset.train.images[:40] / 255
        moved = permute(dataset.train.images[:40]) / 255
        labels = jnp.asarray(dataset.train.labels[:40])
        model = models.MLP(num_classes=10, widths=(12, 7), dtype=jnp.float64)
        params = drawn_variables(model, ordered)["params"]
        order = permute(np.arange(64).reshape(1, 8, 8, 1)).ravel()
        logits_of = jax.jit(lambda params, images: model.apply({"params": params}, images)[0])
        first = {**params["dense1"], "kernel": params["dense1"]["kernel"][order]}

        @jax.jit
        def step(params, state, images):
            def loss(params):
                logits = model.apply({"params": params}, images)[0]
                return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return optax.apply_updates(params, updates), state

        def trained(params, images):
            state = optimizer.init(params)
            for _ in range(20):
                params, state = step(params, state, images)
            return params

        plain, permuted = trained(params, ordered), trained({**params, "dense1": first}, moved)
        logits = [logits_of(p, x) for p, x in ((plain, ordered), (permuted, moved))]
        np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(permuted["dense1"]["kernel"], plain["dense1"]["kernel"][order], rtol=0, atol=1e-9)
        assert np.abs(plain["dense1"]["kernel"] - params["dense1"]["kernel"]).max() > 0.01  # it has learned
        assert np.abs(logits_of(plain, moved) - logits[0]).max() > 0.1  # and the order matters


def test_a_local_network_whose_places_agree_is_the_convolutional_network():
    images = np.random.default_rng(1).random((3, 12, 12, 2), np.float32)
    shared = models.AllConv(num_classes=5, widths=(4, 6), depth=1, head_width=6)
    local = LocalNetwork(5, (4, 6))
    variables = drawn_variables(shared, images)
    shapes = jax.eval_shape(local.init, jax.random.key(0), images)["params"]
    params = {"class_bias": variables["params"]["class_maps"]["bias"]}
    for name in ("stage1_conv1", "stage2_conv1", "head_conv1", "head_conv2", "class_maps"):
        layer = variables["params"][name]
        kernel = layer["kernel"] if name == "class_maps" else layer["conv"]["kernel"]
        height, width, reads, features = shapes[name]["kernel"].shape
        # Patches are channels first: (channels, window).
        flat = np.moveaxis(kernel, 2, 0).reshape(reads, features)
        params[name] = {"kernel": np.broadcast_to(flat, (height, width, reads, features))}
        if name != "class_maps":
            # Linen's own layer lies one level deeper than the network's name for it.
            params[f"{name}_norm"] = layer["norm"]
    statistics = {f"{name}_norm": layer["norm"] for name, layer in variables["batch_stats"].items()}

    def applied(model, variables):
        return jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])[0])(variables, images)

    mine, theirs = applied(local, {"params": params, "batch_stats": statistics}), applied(shared, variables)
    np.testing.assert_allclose(mine[0], theirs[0], atol=2e-5)
    assert mine[1].keys() == theirs[1].keys()
    for name, activation in theirs[1].items():
        np.testing.assert_allclose(mine[1][name], activation, atol=2e-5)


def test_local_weights_are_drawn_apart_with_the_deviation_of_the_rectifier():
    init = jax.jit(lambda key, images: LocalNetwork(5, (64,)).init(key, images)["params"]["stage1_conv1"]["kernel"])
    kernel = init(jax.random.key(0), np.zeros((1, 8, 8, 4), np.float32))
    assert kernel.shape == (4, 4, 36, 64)
    assert float(kernel.std()) == pytest.approx(np.sqrt(2 / 36), rel=0.02)
    assert not np.allclose(kernel[0, 0], kernel[1, 2])


@pytest.mark.slow
def test_pixels_in_another_order_are_the_same_to_a_perceptron_and_not_to_convolutions(whole):
    pairs = pd.read_csv(whole / "comparisons.csv").set_index(["cell", "against"])
    for network in ("mlp", "cnn"):
        own = pairs.loc[(f"{network} permuted", f"{network} ordered")]
        assert list(own["images"]) == [100, 400]
        # Four draws know a difference of the perceptron, whose is 0 in expectation, to about two points.
        assert (own["difference"].abs() < 0.1).all() if network == "mlp" else (own["high"] < -0.1).all()


@pytest.mark.slow
def test_the_network_of_convolutions_leads_by_the_order_of_pixels_and_not_without_it(whole):
    comparisons = pd.read_csv(whole / "comparisons.csv")
    pairs = comparisons[comparisons["images"].eq(400)].set_index(["cell", "against"])
    with_order, without = (pairs.loc[(f"cnn {pixels}", f"mlp {pixels}")] for pixels in ("ordered", "permuted"))
    assert with_order["low"] > 0.05
    assert without["high"] < with_order["low"]


def test_the_directory_tells_the_whole_story(whole, dataset):
    summary = pd.read_csv(whole / "summary.csv")
    assert len(summary) == 2 * 2 * 2 * 4
    assert (summary["status"] == "ok").all()
    row = summary.set_index("cell").loc["network=cnn,images=100,pixels=permuted,draw=3"]
    answers, _ = read_arrays(whole / "cells" / row.name / "predictions.safetensors")
    assert row["accuracy"] == pytest.approx((answers["test/classes"][0] == dataset.test.labels).mean())
    assert row["seed"] == 3
    counted = summary.drop_duplicates("network").set_index("network")
    mlp, cnn = 144 * 32 + 320, 36 * (16 * 9 + 16 * (16 * 9) + 16 * 16 + 16 * 10)
    assert list(counted["multiply_adds"]) == [mlp, cnn]
    assert counted.loc["mlp", "parameters"] == mlp + 32 + 10
    assert counted.loc["cnn", "parameters"] == cnn // 36 + 3 * 2 * 16 + 10
    table = (whole / "table.md").read_text()
    assert re.search(r"\| CNN +\| +permuted \| +\d+\.\d ± ", table)
    assert re.search(r"\| CNN − MLP, pixels as they are +\| +[+-]\d+\.\d ± ", table)
    for name in ("images", "cost"):
        with Image.open(whole / "figures" / f"{name}.png") as figure:
            assert len(figure.getcolors(figure.width * figure.height)) > 50  # type: ignore[arg-type]


@pytest.mark.slow
@jax.numpy_dtype_promotion("standard")  # as above
def test_killed_in_a_cell_it_goes_on_to_the_same_table(tmp_path, monkeypatch, capsys):
    from cnnjax.sweep import cell

    expected = data_efficiency.run(dataclasses.replace(TINY, out=tmp_path / "whole"))
    assert len(pd.read_csv(expected / "summary.csv")) == 4 * 2 + 2  # and the other width, at all images
    real, calls = cell.train_together, []

    def train_together(spec, trainings, *rest, **options):
        def stop(**record):
            calls.append(record)
            if len(calls) == 6:  # in the second epoch of the third cell
                raise KeyboardInterrupt
            trainings[0].log(**record)

        return real(spec, [dataclasses.replace(trainings[0], log=stop)], *rest, **options)

    config = dataclasses.replace(TINY, out=tmp_path / "run")
    monkeypatch.setattr(cell, "train_together", train_together)
    with pytest.raises(KeyboardInterrupt):
        data_efficiency.run(config)
    assert len(list(config.out.glob("cells/*/state.safetensors"))) == 1
    capsys.readouterr()
    data_efficiency.run(config)
    assert capsys.readouterr().err.count("finished earlier") == 2
    assert len(calls) == 10 * 2 + 1  # every epoch once, and the one that was lost again
    for name in ("summary.csv", "comparisons.csv", "table.md"):
        assert (config.out / name).read_bytes() == (expected / name).read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--networks",), "networks is empty"),
        (("--networks", "mlp", "mlp"), "'mlp' more than once"),
        (("--images",), "images is empty"),
        (("--images", "0"), "images=(0,) must be at least 1"),
        (("--images", "10", "1797"), "images=1797 of 1501 training images: give fewer"),
        (("--draws", "0"), "draws=0 must be at least 1"),
        (("--move", "-1"), "move=-1 must be at least 0"),
        (("--move", "4"), "a canvas of 16 pixels is too small for images of 10 pixels shifted by up to 4"),
        (("--widths", "0"), "widths=(0.0,) must be positive"),
        (("--mlp.name", "vit"), "mlp.name=vit must be mlp"),
        (("--cnn.name", "mlp"), "cnn.name=mlp must be all_conv or resnet"),
        (("--vit.patch-size", "5"), "patches of patch_size=5"),
        (("--vit.heads", "5"), "width=32 must be a multiple of heads=5"),
        (("--train.batch-size", "2000"), "train.batch_size=2000 is larger than the training set"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr("cnnjax.sweep.cell.train_together", None)  # long work would fail loudly
    monkeypatch.setattr(sys, "argv", ["data_efficiency", *flags, "--out", str(tmp_path / "run")])
    presets = {"paper": data_efficiency.PAPER}
    with pytest.raises(SystemExit) as stopped:
        cli.main(data_efficiency.Config, data_efficiency.run, prog="data_efficiency", presets=presets)
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_paper_preset_can_be_built():
    images = Split(np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.int32))
    stand_in = Dataset("objects", images, images, tuple("0123456789"), (0.5,) * 3, (0.2,) * 3, 0, "two")
    config = data_efficiency.PAPER
    for name, width in {
        (cell.config.network, cell.config.width) for cell in data_efficiency.treatments(config, 50_000)
    }:
        data_efficiency.network(config, name, width, stand_in)
