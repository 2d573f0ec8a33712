"""Augmentation draws what it says, leaves everything alone at strength 0, and takes its strength traced."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from cnnjax import InputError, data, ops
from cnnjax.data import (
    Augmentation,
    apply_augmentation,
    color_jitter,
    epoch_order,
    random_crop,
    random_flip,
    random_rotation,
    random_shift,
)

KEY = jax.random.key(7)
IMAGES = jax.random.uniform(jax.random.key(1), (6, 9, 8, 3))
CHANGES = {
    "crop": jax.jit(lambda key, images, s: random_crop(key, images, padding=s)),
    "shift": jax.jit(lambda key, images, s: random_shift(key, images, max_shift=s)),
    "rotation": jax.jit(lambda key, images, s: random_rotation(key, images, degrees=s)),
    "flip": jax.jit(lambda key, images, s: random_flip(key, images, probability=s)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_strength_zero_is_the_identity(name):
    np.testing.assert_array_equal(CHANGES[name](KEY, IMAGES, 0), IMAGES)


@pytest.mark.parametrize(
    ("name", "strengths"), [("crop", (0, 2, 4)), ("shift", (0, 2)), ("rotation", (0.0, 9.0)), ("flip", (0.0, 0.5))]
)
def test_strengths_share_one_compilation(name, strengths):
    traced = []

    @jax.jit
    def change(strength):
        traced.append(strength)
        return CHANGES[name](KEY, IMAGES, strength)

    results = [change(strength) for strength in strengths]
    assert len(traced) == 1
    assert not np.array_equal(results[0], results[-1])


def test_crop_shifts_by_whole_pixels_uniform_over_the_range():
    padding, size, count = 2, 9, 5000
    marked = jnp.zeros((count, size, size, 1)).at[:, 4, 4].set(1.0)
    cropped = np.asarray(CHANGES["crop"](KEY, marked, padding))
    image, row, column, _ = np.nonzero(cropped)
    np.testing.assert_array_equal(image, np.arange(count))  # one pixel each, still exactly 1
    assert set(cropped[cropped != 0]) == {1.0}
    counts = np.zeros((5, 5))
    np.add.at(counts, (row - 2, column - 2), 1)
    expected = count / 25
    # Chi square with 24 degrees of freedom: above 51 once in a thousand draws.
    assert ((counts - expected) ** 2 / expected).sum() < 51


def test_crop_fills_with_zeros():
    cropped = np.asarray(CHANGES["crop"](KEY, jnp.ones((200, 6, 6, 1)), 3))
    assert set(np.unique(cropped)) == {0.0, 1.0}
    # A 6×6 image moved by (dy, dx) keeps (6 − |dy|)(6 − |dx|) of its pixels.
    kept = {(6 - a) * (6 - b) for a in range(4) for b in range(4)}
    assert set(cropped.sum((1, 2, 3)).astype(int)) <= kept


def test_a_circular_shift_loses_nothing_and_takes_every_offset_in_reach():
    size, count, reach = 7, 600, 2
    ramp = jnp.arange(float(size * size)).reshape(1, size, size, 1)
    shifted = np.asarray(CHANGES["shift"](KEY, jnp.broadcast_to(ramp, (count, size, size, 1)), reach))[..., 0]
    whole = np.asarray(ramp[0, :, :, 0])
    offsets = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    which = np.stack([(shifted == np.roll(whole, offset, (0, 1))).all((1, 2)) for offset in offsets])
    assert (which.sum(0) == 1).all()  # each image is the picture rolled, by one of the offsets
    assert which.any(1).all()


def test_rotation_is_rotate_by_angles_uniform_over_the_range():
    count = 2000
    # A grey ramp along the columns: after a turn by θ its slope across the centre is cos θ, down it −sin θ or sin θ.
    ramp = jnp.broadcast_to(jnp.arange(9.0)[None, None, :, None], (count, 9, 9, 1))
    turned = np.asarray(CHANGES["rotation"](KEY, ramp, 60.0))[..., 0]
    across, down = turned[:, 4, 5] - turned[:, 4, 3], turned[:, 5, 4] - turned[:, 3, 4]
    # Counter-clockwise turns bring what is on the right to the top, so values fall downwards.
    angles = np.degrees(np.arctan2(-down, across))
    assert np.abs(angles).max() <= 60.001
    grid = np.sort(angles)
    uniform = -60 + 120 * (np.arange(count) + 0.5) / count
    # Kolmogorov–Smirnov: above 1.95/√n once in a thousand draws.
    assert np.abs(grid - uniform).max() / 120 < 1.95 / np.sqrt(count)
    np.testing.assert_allclose(turned, ops.rotate(ramp, jnp.asarray(angles, jnp.float32))[..., 0], atol=1e-3)


def test_flip_mirrors_with_its_probability():
    images = jnp.broadcast_to(IMAGES[:1], (4000, *IMAGES.shape[1:]))
    flipped = np.asarray(CHANGES["flip"](KEY, images, 0.3))
    mirrored = (flipped == np.asarray(IMAGES[0, :, ::-1])).all((1, 2, 3))
    kept = (flipped == np.asarray(IMAGES[0])).all((1, 2, 3))
    assert (mirrored ^ kept).all()
    assert abs(mirrored.mean() - 0.3) < 3.3 * np.sqrt(0.3 * 0.7 / 4000)
    np.testing.assert_array_equal(CHANGES["flip"](KEY, IMAGES, 1.0), IMAGES[:, :, ::-1])


@pytest.mark.parametrize("name", CHANGES)
def test_every_image_and_every_key_gets_its_own_draw(name):
    strength = {"crop": 3, "shift": 3, "rotation": 90.0, "flip": 0.5}[name]
    images = jnp.broadcast_to(IMAGES[:1], (64, *IMAGES.shape[1:]))
    once, again = (np.asarray(CHANGES[name](key, images, strength)) for key in jax.random.split(KEY))
    assert len(np.unique(once.reshape(64, -1), axis=0)) > 1
    assert not np.array_equal(once, again)
    np.testing.assert_array_equal(CHANGES[name](jax.random.split(KEY)[0], images, strength), once)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_crop(KEY, IMAGES, padding=-1), "padding is -1; it must be at least 0"),
        (lambda: random_shift(KEY, IMAGES, max_shift=-1), "max_shift is -1; it must be at least 0"),
        (lambda: random_rotation(KEY, IMAGES, degrees=-5.0), "degrees is -5.0; it must be at least 0"),
        (lambda: random_flip(KEY, IMAGES, probability=1.5), "probability is 1.5; it must be between 0 and 1"),
    ],
)
def test_impossible_strengths_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_an_epochs_order_is_a_permutation_of_seed_and_epoch():
    orders = {
        (seed, epoch): np.asarray(epoch_order(jax.random.key(seed), epoch, 100))
        for seed in (0, 1)
        for epoch in (0, 1, 2)
    }
    for order in orders.values():
        np.testing.assert_array_equal(np.sort(order), np.arange(100))
    assert len({order.tobytes() for order in orders.values()}) == 6
    traced = jax.jit(epoch_order, static_argnums=2)(jax.random.key(1), 2, 100)
    np.testing.assert_array_equal(traced, orders[1, 2])


def test_color_is_blended_as_pillow_does_it():
    """One change at a time: the factors of the others are read off as 1 where nothing else could make the image."""
    image = np.random.default_rng(0).integers(60, 196, (12, 10, 3)).astype(np.uint8)
    picture, images = Image.fromarray(image), jnp.asarray(image, jnp.float32)[None] / 255
    for number, enhance in enumerate((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)):
        factors = jnp.ones(3).at[number].set(0.7)
        found = color_jitter._jittered(images[0], factors, jnp.array([2, 0, 1]))
        np.testing.assert_allclose(255 * found, np.asarray(enhance(picture).enhance(0.7)), atol=1.5)


def test_color_is_drawn_for_each_image_in_its_own_order():
    images = jnp.broadcast_to(jax.random.uniform(KEY, (1, 6, 6, 3)), (64, 6, 6, 3))
    found = np.asarray(data.random_color(KEY, images, strength=0.4))
    assert len({image.tobytes() for image in found}) == 64
    assert 0 <= found.min() < found.max() <= 1
    # Brightness alone changes the mean of grey by more than the others; it is uniform about its own.
    means = found.mean((1, 2, 3)) / np.asarray(images[0]).mean()
    assert 0.55 < means.min() < 0.7
    assert 1.25 < means.max() < 1.45
    np.testing.assert_array_equal(data.random_color(KEY, images, strength=0.0), images)
    with pytest.raises(InputError, match="strength is 2"):
        data.random_color(KEY, images, strength=2)


def test_color_comes_last_and_leaves_the_other_draws_alone():
    images = jax.random.uniform(jax.random.key(1), (3, 6, 6, 3))
    without = Augmentation(crop=1, rotation=20.0, flip=0.5)
    plain = apply_augmentation(KEY, images, without.as_arrays())
    colored = apply_augmentation(KEY, images, dataclasses.replace(without, color=0.3).as_arrays())
    again = data.random_color(jax.random.fold_in(KEY, 4), plain, strength=0.3)
    np.testing.assert_array_equal(colored, again)
    with pytest.raises(InputError, match=r"color is 1\.5; it must be between 0 and 1"):
        Augmentation(color=1.5).as_arrays()
