"""The Red-Green experiment: its images, what its network cannot know, and the whole of it at toy size."""

import dataclasses
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnjax.runs import cli
from cnnjax.training import TrainConfig, read_arrays
from experiments import borders
from experiments.borders import red_green
from experiments.borders import report as border_report
from experiments.borders.red_green import TEST_SETS, RedGreenNet
from tests.repeats import repeated

TINY = borders.Config(
    paddings=("valid", "full"),
    images=40,
    test_images=10,
    train=dataclasses.replace(borders.PUBLISHED, epochs=2, batch_size=20),
    seeds=2,
)


@pytest.fixture(scope="module")
def dataset():
    return red_green.red_green(400, 200)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return borders.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def squares(image):
    """Where the one red and the one green square of an image begin, found again from its pixels."""
    found = []
    for channel in (0, 1):
        rows, columns = np.nonzero(image[..., channel])
        assert len(rows) == 16
        assert set(np.unique(image[..., channel])) == {0, 255}
        found.append((rows.min(), columns.min()))
        assert (rows.max(), columns.max()) == (rows.min() + 3, columns.min() + 3)
    assert not image[..., 2].any()
    return found


def test_the_classes_are_the_order_of_the_squares_and_the_half_they_lie_in(dataset):
    places = np.array([squares(image) for image in dataset.train.images])  # image, colour, axis
    red_first = places[:, 0, 1] < places[:, 1, 1]
    np.testing.assert_array_equal(red_first, dataset.train.labels == 0)
    rows = places[:, :, 0] - 16 * dataset.train.labels[:, None]
    assert (rows.min(), rows.max()) == (3, 10)
    columns = np.sort(places[:, :, 1])
    assert (columns[:, 0].min(), columns[:, 0].max(), columns[:, 1].max()) == (0, 9, 27)
    assert np.diff(columns).min() == 5


def test_dissimilar_images_are_the_similar_ones_where_only_the_other_class_lay(dataset):
    images = dataset.test.images.reshape(4, 200, 32, 32, 3)
    labels = dataset.test.labels.reshape(4, 200)
    np.testing.assert_array_equal(images[0], dataset.train.images[:200])
    assert not (images[2] == images[0]).all(axis=(1, 2, 3)).any()
    for similar, dissimilar in ((0, 1), (2, 3)):
        for label, down in ((0, 16), (1, -16)):
            one = labels[similar] == label
            np.testing.assert_array_equal(np.roll(images[similar, one], down, axis=1), images[dissimilar, one])
    np.testing.assert_array_equal(labels, np.tile(np.arange(200) % 2, (4, 1)))


@pytest.mark.parametrize(("padding", "blind"), repeated([("full", True), ("valid", False), ("same", False)], quick=2))
def test_only_where_nothing_is_cut_off_place_makes_no_difference_before_and_so_after_any_training(
    dataset, padding, blind
):
    images = jnp.asarray(dataset.test.images.reshape(4, 200, 32, 32, 3)[:2, :12], jnp.float32) / 255
    model = RedGreenNet(padding)

    @jax.jit
    def logits(images):
        variables = model.init(jax.random.key(3), images[0])
        return [model.apply(variables, which)[0] for which in images]

    similar, dissimilar = map(np.asarray, logits(images))
    apart = np.abs(similar - dissimilar).max(axis=1)
    spread = similar.std()
    if blind:
        assert apart.max() < 1e-6
    else:
        assert np.median(apart) > 0.05 * spread


def test_the_ceiling_is_that_of_all_images_sorted_by_what_the_units_of_the_last_map_see():
    """Written out: render the images of both classes, cut out what each unit sees, and count what looks the same."""
    field = border_report.last_field("full")
    assert (field.size, field.stride, field.padding, field.units) == ((17, 17), (8, 8), (16, 16), (6, 6))
    seen: dict[frozenset, list[float]] = {}
    for left in range(10):
        for right in range(left + 5, 28):
            for label in (0, 1):
                canvas = np.zeros((2, 64), np.int8)  # the red row and the green one, with 16 zeros on either side
                canvas[label, 16 + left : 20 + left] = 1
                canvas[1 - label, 16 + right : 20 + right] = 1
                looks = frozenset(canvas[:, 8 * u : 8 * u + 17].tobytes() for u in range(6))
                seen.setdefault(looks, [0.0, 0.0])[label] += 1 / (2 * 10 * (23 - left))
    # Every two rows that occur lie within some unit's field, and their chances are those of either class.
    expected = sum(max(shares) for shares in seen.values())
    assert expected < 0.9
    assert red_green.ceiling(field) == pytest.approx(expected, abs=1e-9)


def test_the_directory_tells_the_whole_story(whole):
    summary = pd.read_csv(whole / "summary.csv")
    assert list(summary[["cell", "seed", "status"]].itertuples(index=False, name=None)) == [
        (f"padding={padding}", seed, "ok") for padding in TINY.paddings for seed in (0, 1)
    ]
    dataset = red_green.red_green(40, 10)
    for padding in TINY.paddings:
        answers = read_arrays(whole / "cells" / f"padding={padding}" / "predictions.safetensors")[0]["test/classes"]
        right = (answers == dataset.test.labels).reshape(2, 4, 10).mean(-1)
        found = summary[summary["padding"] == padding][list(TEST_SETS)]
        np.testing.assert_allclose(found, right)
    pairs = pd.read_csv(whole / "comparisons.csv")
    assert len(pairs) == 4 * len(TINY.paddings) * (len(TINY.paddings) - 1) / 2
    full = summary[summary["padding"] == "full"]
    for kind in ("seen", "new"):
        np.testing.assert_array_equal(full[f"{kind}.similar"], full[f"{kind}.dissimilar"])
    assert re.search(r"\| full +\| +\d", (whole / "table.md").read_text())
    with Image.open(whole / "figures" / "borders.png") as figure:
        assert len(figure.getcolors(figure.width * figure.height)) > 50  # type: ignore[arg-type]


def test_killed_in_a_cell_it_goes_on_to_the_same_table(whole, tmp_path, monkeypatch, capsys):
    from cnnjax.sweep import cell

    real, calls = cell.train_together, []

    def train_together(spec, trainings, *rest, **options):
        def stop(**record):
            calls.append(record)
            trainings[0].log(**record)
            if len(calls) == 7:  # the first seed's second epoch of the second cell is logged, its state is not kept
                raise KeyboardInterrupt

        return real(spec, [dataclasses.replace(trainings[0], log=stop)], *rest, **options)

    config = dataclasses.replace(TINY, out=tmp_path / "run")
    monkeypatch.setattr(cell, "train_together", train_together)
    with pytest.raises(KeyboardInterrupt):
        borders.run(config)
    assert (tmp_path / "run" / "cells" / "padding=full" / "state.safetensors").exists()
    capsys.readouterr()
    borders.run(config)
    assert "padding=valid: finished earlier" in capsys.readouterr().err
    assert len(calls) == 9  # one epoch of two seeds was left
    for name in ("summary.csv", "table.md"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()


def test_standard_errors_apart():
    values = np.array([0.9, 0.92, 0.94, 0.96])
    ours, theirs = values.std(ddof=1) / 2, np.sqrt(0.9 * 0.1 / 1000)
    assert border_report.errors_apart(values, 0.9) == pytest.approx(0.03 / np.hypot(ours, theirs))
    assert border_report.errors_apart(np.ones(3), 1.0) == 0
    assert np.isnan(border_report.errors_apart(np.ones(1), 1.0))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--paddings",), "paddings is empty: name at least one of valid"),
        (("--paddings", "full", "full"), "'full' more than once"),
        (("--images", "1"), "images=1 must be at least 2"),
        (("--seeds", "0"), "seeds=0 must be at least 1"),
        (("--images", "900"), "test_images=1000 of 900 training images"),
        (("--train.batch-size", "2001"), "train.batch_size=2001 is larger than the training set"),
        (("--train.optimizer", "adadeltas"), "invalid choice 'adadeltas'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr("cnnjax.sweep.cell.train_together", None)  # long work would fail loudly
    monkeypatch.setattr(sys, "argv", ["borders", *flags, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        cli.main(borders.Config, borders.run, prog="borders", presets={"paper": borders.PAPER})
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_the_presets_are_the_published_recipe():
    assert borders.PAPER.train == TrainConfig(
        epochs=50,
        batch_size=200,
        optimizer="adadelta",
        learning_rate=1.0,
        warmup=0.0,
        schedule="constant",
        weight_decay=5e-5,
    )
    assert (borders.PAPER.images, borders.PAPER.test_images, borders.PAPER.seeds) == (2000, 1000, 10)
