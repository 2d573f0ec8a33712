"""Numbers that make no sense as options of data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.data import (
    Augmentation,
    DataConfig,
    epoch_order,
    load,
    random_crop,
    random_flip,
    random_rotation,
    random_shift,
    shape_pairs,
    shapes,
)

pytestmark = pytest.mark.usefixtures("without_type_checks")

KEY = jax.random.key(0)
IMAGES = jnp.ones((2, 6, 8, 1))
SCENES = np.asarray(shapes.sample(KEY, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_crop(KEY, IMAGES, padding=1.5), "padding is 1.5; it must be a whole number"),
        (lambda: random_crop(KEY, IMAGES, padding=6), "padding is 6; it must be between 0 and 5"),
        (lambda: random_crop(KEY, IMAGES, padding=float("nan")), "padding"),
        (lambda: random_crop(KEY, IMAGES, padding=float("inf")), "padding"),
        (lambda: random_shift(KEY, IMAGES, max_shift=0.5), "max_shift is 0.5; it must be a whole number"),
        (lambda: random_shift(KEY, IMAGES, max_shift=2**31), "max_shift.* ?2147483648"),
        (lambda: random_shift(KEY, IMAGES, max_shift=float("inf")), "max_shift"),
        (lambda: random_rotation(KEY, IMAGES, degrees=float("inf")), "degrees"),
        (lambda: random_rotation(KEY, IMAGES, degrees=float("nan")), "degrees"),
        (lambda: random_flip(KEY, IMAGES, probability=float("nan")), "probability"),
        (lambda: random_flip(KEY, IMAGES, probability=-0.1), "probability is -0.1; it must be between 0 and 1"),
        (lambda: Augmentation(crop=1.5).as_arrays(), "crop is 1.5; it must be a whole number of pixels"),
        (lambda: Augmentation(crop=-1).as_arrays(), "crop is -1; it must be finite and at least 0"),
        (lambda: Augmentation(shift=0.5).as_arrays(), "shift is 0.5; it must be a whole number"),
        (lambda: Augmentation(rotation=float("nan")).as_arrays(), "rotation is nan; it must be finite"),
        (lambda: Augmentation(flip=2).as_arrays(), "flip is 2; it must be between 0 and 1"),
        (lambda: epoch_order(KEY, -1, 5), "epoch"),
        (lambda: epoch_order(KEY, 0, -5), "n=-5"),
        (lambda: epoch_order(KEY, 1.5, 5), "epoch=1.5 must be an int"),
        (lambda: epoch_order(KEY, float("nan"), 5), "epoch=nan must be an int"),
        (lambda: shape_pairs(KEY, 0), "n=0"),
        (lambda: shape_pairs(KEY, 1, size=7), "size=7"),
        (lambda: shapes.sample(KEY, -1), "n=-1 must not be negative"),
        (lambda: shapes.render(SCENES, canvas=0), "canvas=0 must be at least 1 pixel"),
        (lambda: shapes.render(SCENES * np.nan, canvas=20), "scenes must be finite, with radii above 0"),
        (lambda: shapes.render(SCENES * [1, 1, 1, 1, 0], canvas=20), "scenes must be finite, with radii above 0"),
        (lambda: shapes.render(SCENES + np.float32(9), canvas=20), "indices of 8 kinds, from 0 to 7"),
        (lambda: shapes.area("pentagon"), "pentagon"),
        (lambda: load(DataConfig(), max_shift=-1), "max_shift=-1 must not be negative"),
        (lambda: load(DataConfig(name=7)), "data.name is 7; it must be text"),
        (lambda: load(DataConfig("folder", data_dir=7)), "data.data_dir is 7; it must be a path"),
        (lambda: load(DataConfig(canvas=10**6)), "data.canvas is 1000000; it must be at most 16,384 pixels"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("field", ["size", "canvas", "train_images", "test_images"])
@pytest.mark.parametrize("value", [1.5, float("nan"), True, "28", [28]])
def test_a_count_is_a_whole_number(field, value):
    with pytest.raises(InputError, match=rf"data.{field} is .*; it must be a whole number"):
        load(DataConfig(**{field: value}))


def test_whole_numbers_of_any_kind_are_taken():
    for padding in (2, 2.0, np.int64(2), jnp.asarray(2)):
        assert random_crop(KEY, IMAGES, padding=padding).shape == IMAGES.shape
    assert Augmentation(crop=np.float32(2)).as_arrays().crop == 2
    assert load(DataConfig(train_images=np.int64(20), test_images=np.int32(20))).train.images.shape[0] == 20


@pytest.mark.parametrize(
    "config",
    [
        DataConfig("shapes", train_images=10**12),
        DataConfig("coloured_shapes", test_images=2**62),
        DataConfig("digits", size=8, canvas=2**14),
    ],
)
def test_more_than_memory_can_hold_is_refused_before_it_is_drawn(config, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": 2**23}.get)
    with pytest.raises(InputError, match=r"pixels take .* GB, and the machine has 34 GB; give fewer"):
        load(config)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_crop(3, IMAGES, padding=1), r"key=3 must be a random key; give jax.random.key\(3\)"),
        (lambda: random_shift(3, IMAGES, max_shift=1), r"give jax.random.key\(3\)"),
        (lambda: random_rotation(3, IMAGES, degrees=1), r"give jax.random.key\(3\)"),
        (lambda: random_flip(3, IMAGES, probability=0.5), r"give jax.random.key\(3\)"),
        (lambda: epoch_order(3, 0, 5), r"seed_key=3 must be a random key"),
        (lambda: shape_pairs(3, 2), r"give jax.random.key\(3\)"),
        (lambda: shapes.sample(3, 2), r"give jax.random.key\(3\)"),
        (lambda: random_crop(KEY, IMAGES, padding=None), "padding=None is None; give an array of numbers"),
        (lambda: random_shift(KEY, IMAGES, max_shift=[1, 2]), r"max_shift has shape \(2,\); expected a single number"),
        (lambda: shapes.sample(KEY, 2.5), "n=2.5 must be an int"),
        (lambda: shape_pairs(KEY, 2, size=8.5), "size=8.5 must be an int"),
        (lambda: shapes.render(SCENES, canvas=float("nan")), "canvas=nan must be an int"),
        (lambda: shapes.move(SCENES, degrees=float("inf")), "inf must be finite"),
        (lambda: shapes.move(SCENES, offset=(0, float("nan"))), "nan.* must be finite"),
        (lambda: load(DataConfig(), max_shift=1.5), "max_shift=1.5 must be an int"),
        (lambda: load("digits"), "config='digits' must be a DataConfig"),
    ],
)
def test_a_natural_slip_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
