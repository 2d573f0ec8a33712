"""The MNIST-rot experiment end to end at toy size: its networks and their invariances, its images, what it refuses."""

import dataclasses
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnjax.data import DataConfig, load
from cnnjax.errors import InputError
from cnnjax.runs import cli
from cnnjax.sweep import cell
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.training import TrainConfig
from experiments import mnist_rot
from experiments.mnist_rot.network import SevenConvolutions
from experiments.mnist_rot.turned import turn, turned_dataset
from tests.repeats import repeated

TINY = mnist_rot.Config(
    data=DataConfig(size=18, canvas=22),
    parts=(20, 10, 30),
    networks=("p4_pooled", "p4"),
    width=4,
    train=TrainConfig(epochs=2, batch_size=15, learning_rate=0.02),
    protocol=ProtocolConfig(rotation_step=90.0, images=30, orbits=("rotation",)),
    seeds=2,
)
"""As many images to train on as to test on, for one program to classify both."""

CELLS = [f"network={kind}" for kind in TINY.networks]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return mnist_rot.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def test_the_directory_tells_the_whole_story(whole):
    summary = pd.read_csv(whole / "summary.csv")
    assert list(zip(summary["cell"], summary["seed"], strict=True)) == [(c, s) for c in CELLS for s in (0, 1)]
    pairs = pd.read_csv(whole / "comparisons.csv")
    assert set(zip(pairs["cell"], pairs["against"], strict=True)) == {(CELLS[1], CELLS[0])}
    assert {"train.error", "test.accuracy"} <= set(pairs["score"])
    text = (whole / "table.md").read_text()
    assert "not the file of Larochelle et al. (2007)" in text
    # Differences are of errors: those of accuracies with their sign turned.
    gain = summary.pivot(index="seed", columns="cell", values="test.accuracy")
    expected = 100 * (gain[CELLS[0]] - gain[CELLS[1]]).mean()
    (shown,) = re.findall(r"P4CNN − P4CNN, rotation pooling \| +(-?\d+\.\d\d) ±.*\| +-0\.93 \|", text)
    assert float(shown) == pytest.approx(expected, abs=0.01)
    with Image.open(whole / "figures" / "errors.png") as figure:
        assert len(figure.getcolors(figure.width * figure.height)) > 50  # type: ignore[arg-type]


def test_quarter_turns_never_change_an_answer_of_the_group_networks(whole):
    summary = pd.read_csv(whole / "summary.csv")
    assert list(summary["rotation.consistency"]) == [1.0] * 4


@pytest.mark.slow
@pytest.mark.parametrize("where", repeated(["experiments", "cells"], quick=1))
def test_killed_on_the_way_it_resumes_to_the_same_tables(whole, tmp_path, monkeypatch, where):
    module, name = (mnist_rot, "training_errors") if where == "experiments" else (cell, "train_together")
    real, calls = getattr(module, name), []

    def stop(*args, **options):
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(*args, **options)

    config = dataclasses.replace(TINY, out=tmp_path / "run")
    monkeypatch.setattr(module, name, stop)
    with pytest.raises(KeyboardInterrupt):
        mnist_rot.run(config)
    path = mnist_rot.run(config)
    for file in ("summary.csv", "scores.csv", "table.md"):
        assert (path / file).read_bytes() == (whole / file).read_bytes()


def test_networks_have_the_parameters_of_the_paper():
    dataset = load(DataConfig(size=20, canvas=28, train_images=20, test_images=10))
    images = jax.ShapeDtypeStruct((1, 28, 28, 1), "float32")
    found = {}
    for kind in ("z2", "p4_pooled", "p4"):
        model = mnist_rot.build_network(kind, mnist_rot.PAPER, dataset)
        shapes = jax.eval_shape(model.init, jax.random.key(0), images)
        found[kind] = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    planar = 9 * 20 + 5 * 9 * 20 * 20 + 4 * 4 * 20 * 10  # no kernel of a lifting convolution sees orientations
    group = 9 * 10 + 5 * 9 * 4 * 10 * 10 + 4 * 4 * 4 * 10 * 10
    norms = 6 * 2
    assert found == {
        "z2": planar + 20 * norms + 10,
        "p4_pooled": planar + 20 * norms + 10,
        "p4": group + 10 * norms + 10,
    }


def test_a_pooled_layer_does_not_see_at_which_angle_a_pattern_stands():
    random = np.random.default_rng(0)
    image = jnp.asarray(random.uniform(size=(1, 22, 22, 1)), jnp.float32)
    turned = image.at[0, 4:7, 9:12, 0].set(jnp.rot90(image[0, 4:7, 9:12, 0]))  # one window, in its place

    def seen(pooled):
        """What the first layer makes of that window, in both images."""
        model = SevenConvolutions(num_classes=3, width=4, group="p4", pooled=pooled, downsample="max", padding="valid")
        variables = model.lazy_init(jax.random.key(1), image)
        first = jax.jit(lambda x: model.apply(variables, x)[1]["conv1"])  # type: ignore[index]
        maps = [first(x) for x in (image, turned)]
        return [np.asarray(one[0, 4, 9]) for one in maps]

    before, after = seen(pooled=True)
    np.testing.assert_allclose(after, before, atol=1e-5)
    before, after = seen(pooled=False)
    np.testing.assert_allclose(after, np.roll(before, 1, axis=0), atol=1e-5)  # kept, as a turn of the orientations
    assert np.abs(after - before).max() > 0.05


def test_images_are_turned_about_their_centre():
    from scipy import ndimage

    images = load(DataConfig(size=18, canvas=22, train_images=3, test_images=2)).train.images
    quarter = turn(images, np.full(3, 90, np.float32))
    np.testing.assert_array_equal(quarter, np.rot90(images, axes=(1, 2)))
    found = turn(images, np.array([37, -100, 200], np.float32)).astype(int)
    for image, degrees, one in zip(images, (37, -100, 200), found, strict=True):
        expected = ndimage.rotate(image[..., 0].astype(float), degrees, reshape=False, order=1)
        assert np.abs(one[..., 0] - expected).max() <= 1


def test_the_parts_share_no_image_and_each_image_has_its_angle():
    dataset = load(TINY.data)
    everything = np.concatenate([dataset.train.images, dataset.test.images])
    of = {parts: turned_dataset(dataset, parts, "test") for parts in ((40, 20, 30), (10, 50, 30))}
    test, other = of.values()
    assert (len(test.train.images), len(test.test.images)) == (60, 30)
    np.testing.assert_array_equal(test.test.images, other.test.images)  # whatever the parts, in one order
    validation = turned_dataset(dataset, (40, 20, 30), "validation")
    assert (len(validation.train.images), len(validation.test.images)) == (40, 20)
    np.testing.assert_array_equal(np.concatenate([validation.train.images, validation.test.images]), test.train.images)
    rows = {image.tobytes() for image in test.train.images}
    assert not rows & {image.tobytes() for image in test.test.images}
    assert len(rows & {image.tobytes() for image in everything}) < 3  # turned, but for an angle near 0
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    order = np.random.default_rng((0, 0)).permutation(len(labels))
    np.testing.assert_array_equal(test.test.labels, labels[order[60:90]])


def test_the_paper_preset_has_the_images_of_mnist_rot():
    assert mnist_rot.PAPER.parts == (10_000, 2_000, 50_000)
    assert (mnist_rot.PAPER.data.name, mnist_rot.PAPER.seeds) == ("mnist", 5)


def test_the_planar_network_trains_longer():
    dataset = load(dataclasses.replace(TINY.data, train_images=30, test_images=10))
    config = dataclasses.replace(TINY, longer=4)
    kinds = mnist_rot.grid(mnist_rot.Treatment(), {"network": ("z2", "p4")})
    assert [mnist_rot._plan(one, config, dataset).train.epochs for one in kinds] == [8, 2]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"pooled": True}, "pooled=True has no meaning without a group"), ({}, "images are 20×20 pixels: .* 22 at least")],
)
def test_a_network_that_cannot_be(fields, message):
    model = SevenConvolutions(num_classes=3, padding="valid", downsample="max", **fields)
    side = 22 if fields else 20
    with pytest.raises(InputError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, side, side, 1), "float32"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--networks",), "networks is empty"),
        (("--parts", "1000", "500", "600"), "parts=(1000, 500, 600) are 2,100 of 1,797 images in all"),
        (("--parts", "0", "1", "1"), "parts=(0, 1, 1) must be at least 1"),
        (("--data.size", "10", "--data.canvas", "20"), "20×20 pixels: seven convolutions need squares of 22"),
        (("--data.canvas", "25"), "p4_pooled"),
        (("--dropout", "1"), "dropout=1.0 leaves nothing"),
        (("--longer", "0"), "longer=0 must be at least 1"),
        (("--seeds", "0"), "seeds=0 must be at least 1"),
        (("--protocol.orbits", "shift_zero"), "protocol.orbits=('shift_zero',) must be rotation"),
        (("--train.batch-size", "2000"), "train.batch_size=2000 is larger than the training set of 1197"),
        (("--data.name", "mnist", "--data.data-dir", "nowhere"), "mnist"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr(mnist_rot, "sweep", None)  # long work would fail loudly
    monkeypatch.setattr(sys, "argv", ["mnist_rot", *flags, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        cli.main(mnist_rot.Config, mnist_rot.run, prog="mnist_rot", presets={"paper": mnist_rot.PAPER})
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
