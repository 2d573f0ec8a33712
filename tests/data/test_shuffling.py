"""Shuffled patches: what is in an image stays to the last bit, and nothing stays where it was."""

import jax
import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.data import shuffle_patches

KEY = jax.random.key(0)


def pieces(image, rows, columns):
    """The patches of one image, cut with NumPy, as bytes."""
    return [bytes(part.copy()) for band in np.split(image, rows, 0) for part in np.split(band, columns, 1)]


@pytest.mark.parametrize(("grid", "rows", "columns"), [(2, 2, 2), (4, 4, 4), ((2, 6), 2, 6), ((8, 12), 8, 12)])
def test_every_patch_is_there_once_and_none_where_it_was(grid, rows, columns):
    images = np.arange(3 * 8 * 12 * 3, dtype=np.int32).reshape(3, 8, 12, 3)
    shuffled = np.asarray(shuffle_patches(KEY, images, grid=grid))
    for before, after in zip(images, shuffled, strict=True):
        old, new = pieces(before, rows, columns), pieces(after, rows, columns)
        assert sorted(old) == sorted(new)
        assert not any(a == b for a, b in zip(old, new, strict=True))


def test_the_histogram_of_colours_stays_exactly():
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    shuffled = np.asarray(shuffle_patches(KEY, images, grid=8))
    for before, after in zip(images.reshape(4, -1, 3), shuffled.reshape(4, -1, 3), strict=True):
        assert sorted(map(tuple, before.tolist())) == sorted(map(tuple, after.tolist()))


def test_every_cycle_is_equally_likely_and_images_have_their_own():
    images = np.tile(np.arange(3, dtype=np.int32)[None, None, :, None], (600, 1, 1, 1))
    orders = np.asarray(shuffle_patches(KEY, images, grid=(1, 3)))[:, 0, :, 0].tolist()
    counts = [orders.count(order) for order in ([1, 2, 0], [2, 0, 1])]  # the two without a fixed place
    assert sum(counts) == 600
    assert abs(counts[0] - 300) < 5 * np.sqrt(150)
    few = shuffle_patches(KEY, images[:7], grid=(1, 3))
    assert np.asarray(few)[:, 0, :, 0].tolist() == orders[:7]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (1, "grid=1: give at least two patches"),
        (0, "grid=0 must be a positive int, or 2 of them, one per spatial axis"),
        ((2,), r"grid=\(2,\) must be a positive int, or 2 of them, one per spatial axis"),
        (2.0, "grid=2.0 must be a positive int, or 2 of them"),
        (None, "grid=None must be a positive int, or 2 of them"),
        (("a", 2), r"grid=\('a', 2\) must be a positive int, or 2 of them"),
        (5, r"grid=5 does not cut images of 6×8 pixels evenly: give divisors of both, such as \(6, 4\)"),
    ],
)
def test_what_is_no_grid_is_refused(grid, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        shuffle_patches(KEY, np.ones((2, 6, 8, 1), np.float32), grid=grid)


def test_what_is_proposed_in_place_of_a_grid_is_one(without_type_checks):
    with pytest.raises(InputError, match=r"grid=2 does not cut images of 7×5 pixels evenly: .* such as \(7, 5\)"):
        shuffle_patches(KEY, np.ones((1, 7, 5, 1), np.float32), grid=2)
    with pytest.raises(InputError, match="images are 1×1 pixels: there is nothing to shuffle"):
        shuffle_patches(KEY, np.ones((1, 1, 1, 1), np.float32), grid=2)
    images = np.arange(2 * 4 * 4, dtype=np.int32).reshape(2, 4, 4, 1)
    found, expected = (shuffle_patches(KEY, images, grid=grid) for grid in (np.int64(2), 2))
    np.testing.assert_array_equal(found, expected)
