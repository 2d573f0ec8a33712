"""Where the spatial axes of an activation are and how far apart its units lie, by construction of the network."""

import jax
import jax.numpy as jnp
import pytest

from cnnjax import InputError, ops
from cnnjax.analysis.fields.layout import Layout, layouts

IMAGES = jnp.ones((2, 8, 12, 1))
KERNEL = jnp.ones((3, 3, 1, 4))


def network(x):
    fine = ops.conv(x, KERNEL)
    coarse = ops.max_pool(fine, 2)
    pooled = coarse.mean((1, 2))
    windows = x.reshape(2, 2, 4, 3, 4, 1)
    return {
        "windows": (windows + windows.mean((2, 4), keepdims=True)).reshape(x.shape),
        "coarse": coarse,
        "channels_first": jnp.moveaxis(coarse, -1, 1),
        "fine": fine,
        "pooled": pooled,
        "strided": ops.conv(x, KERNEL, stride=(1, 4)),
        "squeezed": fine * jax.nn.sigmoid(fine.mean((1, 2), keepdims=True)),
    }


def test_axes_and_strides():
    expected = {
        "coarse": ((1, 2), (2, 2)),
        "channels_first": ((2, 3), (2, 2)),
        "fine": ((1, 2), (1, 1)),
        "pooled": ((), ()),
        "strided": ((1, 2), (1, 4)),
        # A unit reads what its neighbours in the window do.
        "windows": ((1, 2), (1, 1)),
        # Every unit reads the whole image, and it is as large as that.
        "squeezed": ((1, 2), (1, 1)),
    }
    found = layouts(network, IMAGES)
    assert {name: (layout.axes, layout.stride) for name, layout in found.items()} == expected
    assert {layout.name for layout in found.values()} == set(expected)


def test_spatial_axes_are_moved_behind_the_first():
    result, found = network(IMAGES), layouts(network, IMAGES)
    assert found["channels_first"].spatial(result["channels_first"]).shape == result["coarse"].shape
    assert found["pooled"].spatial(result["pooled"]).shape == result["pooled"].shape


def test_a_name_does_not_tell_layouts_apart():
    assert Layout("a", (1, 2), (2, 2)) == Layout("b", (1, 2), (2, 2)) != Layout("a", (1, 2), (2, 4))


def test_units_in_no_order_are_refused():
    with pytest.raises(InputError, match=r"activation tokens of shape .* not clear which of its units lies where"):
        layouts(lambda x: {"tokens": ops.conv(x, KERNEL).reshape(2, -1, 4)}, IMAGES)
