"""The door: what every source shares, and what is refused before any image is decoded."""

import subprocess
import sys

import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.data import DataConfig, Dataset, Split, load
from cnnjax.data.canvas import center
from cnnjax.data.dataset import channel_statistics
from cnnjax.data.sources.source import every, mixed_order


def test_importing_is_light():
    heavy = ("sklearn", "tensorflow_datasets", "PIL", "platformdirs", "matplotlib")
    code = f"import sys, cnnjax.data; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_canvas_too_small_names_all_three_numbers_and_both_remedies(name):
    with pytest.raises(InputError, match=r"canvas of 24 pixels .* images of 20 pixels shifted by up to 6") as error:
        load(DataConfig(name, canvas=24), max_shift=6)
    assert "data.canvas 32 or more" in str(error.value)
    assert "shift by at most 2" in str(error.value)


def test_canvas_must_hold_the_image_even_at_rest():
    with pytest.raises(InputError, match=r"canvas of 16 pixels .* images of 20 pixels; use data.canvas 20 or more\.$"):
        load(DataConfig(canvas=16))


def test_a_size_that_outgrows_the_default_canvas_is_refused():
    with pytest.raises(InputError, match=r"use data.canvas 40 or more"):
        load(DataConfig(size=40))


def test_the_canvas_that_just_fits_is_accepted_and_margin_is_its_room():
    assert load(DataConfig(canvas=32), max_shift=6).margin == 6
    assert load(DataConfig(canvas=21), max_shift=0).margin == 0


@pytest.mark.parametrize("field", ["size", "canvas", "train_images", "test_images"])
def test_counts_below_one_are_refused(field):
    with pytest.raises(InputError, match=rf"data.{field} is 0; it must be at least 1"):
        load(DataConfig(**{field: 0}))


@pytest.mark.parametrize(("split", "available"), [("train", 1501), ("test", 296)])
def test_more_images_than_there_are_is_refused(split, available):
    with pytest.raises(InputError, match=f"data.{split}_images is 5000, but digits has {available} {split} images"):
        load(DataConfig(**{f"{split}_images": 5000}))


def test_fewer_images_are_the_first_of_the_same_order():
    everything, few = load(DataConfig()), load(DataConfig(train_images=200, test_images=50))
    np.testing.assert_array_equal(few.train.images, everything.train.images[:200])
    np.testing.assert_array_equal(few.test.labels, everything.test.labels[:50])


@pytest.mark.parametrize("stored", [np.repeat(np.arange(10), 100), np.tile(np.arange(10), 100)])
def test_every_beginning_of_the_order_mixes_sorted_and_periodic_classes(stored):
    order = mixed_order(1000)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    for n in (100, 300, 500):
        counts = np.bincount(stored[order[:n]], minlength=10)
        assert np.all(np.abs(counts - n / 10) <= 0.3 * n / 10 + 2)


def test_every_sixth_of_a_class_is_for_test():
    labels = np.array([0, 1] * 12)
    train, test = every(6, labels)
    np.testing.assert_array_equal(test, [10, 11, 22, 23])
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(24))


def test_channel_statistics_are_numpys():
    images = np.random.default_rng(0).integers(0, 256, (5000, 4, 5, 3)).astype(np.uint8)
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-10)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-10)


def test_centre_adds_only_black():
    images = np.full((2, 3, 4, 1), 7, np.uint8)
    placed = center(images, 8)
    np.testing.assert_array_equal(placed[:, 2:5, 2:6], images)
    assert placed.sum() == images.sum()
    assert center(placed, 8) is placed


def test_a_dataset_prints_in_a_line_without_pixels():
    data = load(DataConfig())
    assert repr(data.test) == "Split(296 images of 32×32×1)"
    assert repr(data) == f"Dataset(digits, 10 classes, train={data.train}, test={data.test})"
    assert repr(load(DataConfig("shapes", train_images=8, test_images=4)).train) == "Split(8 images of 32×32×1, scenes)"


def test_classes_are_said_with_their_counts():
    data = load(DataConfig(train_images=50, test_images=20))
    counted = [f"{i}: {np.sum(data.train.labels == i)} + {np.sum(data.test.labels == i)}" for i in range(10)]
    assert data.describe_classes() == f"10 classes, images to train + to test: {', '.join(counted)}"


def test_of_many_classes_some_are_said_and_the_range_of_all():
    labels = np.repeat(np.arange(1000), np.arange(1000) % 3 + 1).astype(np.int32)
    split = Split(np.zeros((len(labels), 1, 1, 1), np.uint8), labels)
    few = Split(split.images[:1], labels[:1])
    data = Dataset("many", split, few, tuple(f"class {i}" for i in range(1000)), (0.0,), (0.0,), 0, "")
    said = data.describe_classes()
    assert said.startswith("1,000 classes, images to train + to test: class 0: 1 + 1, class 1: 2 + 0, ")
    assert said.endswith("class 9: 1 + 0 and 990 more, in all from 1 + 0 to 3 + 1")
