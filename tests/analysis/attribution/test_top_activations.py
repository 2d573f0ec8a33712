"""The strongest activations of each map against a search in NumPy over the whole dataset at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import InputError, ops
from cnnjax.analysis import project, receptive_field, top_activations
from tests.drawn_cases import drawn_cases
from tests.references.frameworks import MAKERS, other_frameworks

RANDOM = np.random.default_rng(4)
KERNEL = RANDOM.integers(-1, 2, (3, 3, 1, 4)).astype(np.float32)
SECOND = RANDOM.integers(-1, 2, (3, 3, 4, 3)).astype(np.float32)
# Whole numbers: no rounding, and many equal activations.
IMAGES = RANDOM.integers(0, 3, (23, 6, 5, 1)).astype(np.float32)


def f(images):
    first = jax.nn.relu(ops.conv(images, jnp.asarray(KERNEL)))
    second = jax.nn.relu(ops.conv(first, jnp.asarray(SECOND), stride=2, padding="valid"))
    return {"first": first, "second": second, "sums": second.sum((1, 2))}


# Compiled once for all images of a shape.
F = jax.tree_util.Partial(f)


@functools.cache
def activations(layer):
    return np.asarray(jax.jit(f)(IMAGES)[layer])


def brute_force(layer, chosen, k):
    """Sorted in Python, one unit after the other: image, place and value of the best of each map."""
    found = []
    for channel in range(activations(layer).shape[-1]):
        best = []
        for image in sorted(chosen):
            units = [(-value, place) for place, value in np.ndenumerate(activations(layer)[image][..., channel])]
            value, place = min(units)
            best.append((value, image, place))
        found.append([(image, place, -value) for value, image, place in sorted(best)[:k]])
    return found


def listed(found):
    return [
        [(int(i), tuple(map(int, p)), float(v)) for i, p, v in zip(images, places, values, strict=True)]
        for images, places, values in zip(found.images, found.places, found.values, strict=True)
    ]


@given(
    order=st.permutations(range(len(IMAGES))),
    # A few of each, as every combination is compiled.
    count_and_k=st.sampled_from(((9, 9), (10, 3), (23, 9), (23, 23))),
    batch_size=st.sampled_from((1, 4, 23)),
    layer=st.sampled_from(("first", "second", "sums")),
)
@drawn_cases(10)
def test_the_best_of_a_dataset_in_any_order_and_batches(order, count_and_k, batch_size, layer):
    count, k = count_and_k
    chosen = order[:count]
    options = dict(rule=None, value_range=None, batch_size=batch_size)
    found = top_activations(F, IMAGES[chosen], layer, k=k, index=chosen, **options)
    assert listed(found) == brute_force(layer, chosen, k)


def test_there_are_ties_to_break():
    best = [row for layer in ("first", "second") for row in brute_force(layer, range(len(IMAGES)), 9)]
    assert any(len({value for *_, value in row}) < 9 for row in best)
    assert any(
        (activations("first")[..., 0].max((1, 2), keepdims=True) == activations("first")[..., 0]).sum((1, 2)) > 1
    )


def test_patches_and_projections_are_cut_from_the_image_and_its_picture():
    images = IMAGES / 2
    found = top_activations(F, images, "second", k=5, channels=[2, 0])
    assert found.channels.tolist() == [2, 0]
    field = receptive_field(f, images)["second"]
    assert found.patches.shape == (2, 5, 5, 5, 1)  # r = 5 of 6 rows, and the image's 5 columns
    clipped = 0
    for i, channel in enumerate(found.channels):
        for rank in range(5):
            place, image = tuple(found.places[i, rank].tolist()), images[found.images[i, rank]]
            picture = project(F, image, "second", (*place, int(channel))).pictures[0]
            (top, bottom), (left, right) = field.clipped_span(place)
            np.testing.assert_array_equal(found.windows[i, rank], [(top, bottom), (left, right)])
            for tile, whole in ((found.patches, image), (found.pictures, picture)):
                inside = tile[i, rank][np.isfinite(tile[i, rank])]
                np.testing.assert_allclose(inside, whole[top : bottom + 1, left : right + 1].ravel(), atol=1e-6)
            start = field.span(place)[0][0]
            # The blank rows are those of the field above the image.
            np.testing.assert_array_equal(
                np.isfinite(found.patches[i, rank]).any((1, 2)),
                [0 <= start + row < 6 for row in range(5)],
            )
            clipped += start < 0
    assert clipped


def test_bytes_are_pixels_of_255():
    pixels = (IMAGES * 100).astype(np.uint8)
    of_bytes = top_activations(f, pixels, "first", k=3)
    of_floats = top_activations(f, pixels.astype(np.float32) / np.float32(255), "first", k=3)
    for name in ("images", "places", "values", "patches", "pictures"):
        np.testing.assert_allclose(
            getattr(of_bytes, name), getattr(of_floats, name), rtol=1e-5, atol=1e-5, err_msg=name
        )


def test_a_unit_that_sees_everything_has_the_image_as_its_patch():
    images = IMAGES / 2
    found = top_activations(f, images, "sums", k=2)
    assert found.places.shape == (3, 2, 0)
    np.testing.assert_array_equal(found.patches, images[found.images])


def test_signals_and_progress():
    signals = RANDOM.random((6, 9, 2)).astype(np.float32)
    kernel = jnp.asarray(RANDOM.normal(size=(3, 2, 4)).astype(np.float32))
    seen = []
    found = top_activations(
        lambda x: jax.nn.relu(ops.conv(x, kernel)), signals, k=2, batch_size=4, progress=lambda *at: seen.append(at)
    )
    assert found.patches.shape == (4, 2, 3, 2)
    assert seen == [(4, 6, "images"), (6, 6, "images")]


@functools.cache
def of_framework(make):
    images = np.random.default_rng(0).random((5, 6, 6, 1)).astype(np.float32)
    return top_activations(make(), images, "hidden", k=2)


@other_frameworks
def test_any_framework(make):
    found, expected = of_framework(make), of_framework(MAKERS["plain"])
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_allclose(found.pictures, expected.pictures, rtol=1e-4, atol=1e-5)


GOOD = dict(f=f, images=IMAGES / 2, layer="first", k=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(k=24), "k=24 must be at least 1, and at most the 23 images of the dataset"),
        (dict(k=0), "k=0 must be at least 1"),
        (dict(layer="frist"), "layer='frist' is unknown; .*perhaps you meant first"),
        (dict(layer=None), "returns 3 activations: name the layer"),
        (dict(images=np.where(IMAGES > 1, np.nan, IMAGES)), "NaN or infinity"),
        (dict(images=IMAGES), r"values from 0 to 2, outside \(0, 1\)"),
        (dict(images=IMAGES.astype(np.int32)), "expected floats"),
        (dict(images=IMAGES[:0]), "none of them empty"),
        (dict(images=IMAGES[0, 0] / 2), "images have shape"),
        (dict(channels=[4]), r"no unit \(4,\)"),
        (dict(channels=[(0, 0, 1)]), "must be channels"),
        (dict(index=[0] * 23), "one whole number for each of 23 images, none twice"),
        (dict(index=[1, 2]), "one whole number for each of 23 images"),
        (dict(batch_size=-1), "batch_size=-1 must be positive"),
        (dict(f=lambda x: x * 2, layer=None), "no rectifier"),
        (dict(f=lambda x: jax.nn.relu(x - x.mean(0, keepdims=True)), layer=None), "mixes the images of a batch"),
    ],
)
def test_bad_input(arguments, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        top_activations(**{**GOOD, **arguments})


def test_the_image_whose_activations_are_not_finite_is_named():
    images = np.full((5, 4, 4, 1), 0.5, np.float32)
    images[3] = 1
    with pytest.raises(InputError, match="activations of image 13 are not finite"):
        top_activations(lambda x: jax.nn.relu(1 / (1 - x)), images, k=1, index=range(10, 15), batch_size=2)
