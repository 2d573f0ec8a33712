"""Patches as points: their distances bound the patches' from below, and come near."""

import brute_force
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import data
from cnnjax.patches import distances, patch_features
from tests.repeats import repeated


def points(packed, scale):
    """The coordinates in the words of an embedded image: (rows, columns, coordinates), in the image's grains."""
    fields = []
    for words, bits in zip(np.moveaxis(np.asarray(packed), -1, 0), patch_features.LAYOUT, strict=False):
        shifts = np.cumsum([0, *bits[:-1]])
        fields += [(words >> s) & ((1 << b) - 1) for s, b in zip(shifts, bits, strict=True)]
    return np.stack(fields, axis=-1) / scale


@pytest.mark.parametrize(("patch_size", "channels"), repeated([(7, 3), (4, 1), (5, 5)]))
def test_distances_of_points_are_nearly_and_at_most_those_of_patches(patch_size, channels):
    photograph = data.resize(data.load_image("coffee"), (24, 24))
    image = np.concatenate([photograph, photograph[::-1]], axis=2)[:, :, :channels]
    whole = distances.quantize(jnp.asarray(image))
    space = patch_features.space_of([whole], patch_size=patch_size)
    where = points(patch_features.embed(whole, space, patch_size=patch_size), float(space.scale))
    flat = where.reshape(-1, where.shape[-1])
    below = np.sqrt(((flat[:, None] - flat[None]) ** 2).sum(-1))
    every, _, _ = brute_force.all_distances(image, image, patch_size)
    truth = np.sqrt(every * patch_size**2 * channels) * distances.GRAIN
    # A coordinate is rounded by half a step at most, at both ends.
    rounding = np.sqrt(where.shape[-1]) / float(space.scale)
    assert (below <= truth + rounding + 1).all()
    assert below.sum() > 0.9 * truth.sum()
