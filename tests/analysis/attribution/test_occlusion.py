"""Occlusion against a loop over squares drawn one by one, and the correspondence measure against its definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from cnnjax import InputError, models
from cnnjax.analysis import correspondence, occlusion, project
from tests.references.frameworks import every_framework, plain

EVALUATED = jax.jit(plain)
RNG = np.random.default_rng(0)
IMAGE = RNG.random((10, 8, 1)).astype(np.float32)


def by_loops(f, image, label, channel, size, stride, fill):
    """Total activation, probability and prediction, the square cut from a larger canvas."""
    cells = [-(-n // stride) for n in image.shape[:2]]
    first = [(n - stride * (c - 1) - size) // 2 for n, c in zip(image.shape[:2], cells, strict=True)]
    maps = np.zeros((3, *cells))
    for cell in np.ndindex(*cells):
        canvas = np.pad(image, ((20, 20), (20, 20), (0, 0)))
        top, left = (20 + a + stride * i for a, i in zip(first, cell, strict=True))
        canvas[top : top + size, left : left + size] = fill
        logits, activations = f(canvas[20:-20, 20:-20][None])
        powers = np.exp(np.asarray(logits[0], np.float64))
        maps[:, *cell] = (
            np.asarray(activations["hidden"])[0, :, :, channel].sum(),
            powers[label] / powers.sum(),
            powers.argmax(),
        )
    return maps


@functools.cache
def by_definition():
    """In the open: logits, totals and picture of the most active map; and the panels with the square."""
    logits, activations = EVALUATED(IMAGE[None])
    totals = np.asarray(activations["hidden"]).sum((0, 1, 2))
    channel = int(totals.argmax())
    picture = project(plain, IMAGE, "hidden", channel).pictures[0]
    return np.asarray(logits[0], np.float64), totals, picture, by_loops(EVALUATED, IMAGE, 1, channel, 3, 2, 0.2)


@every_framework
def test_panels(make):
    found = occlusion(make(), IMAGE, "hidden", logits="0", label=1, size=3, stride=2, background=0.2, batch_size=6)
    logits, totals, picture, (total, probability, prediction) = by_definition()
    assert found.channel == totals.argmax()
    np.testing.assert_allclose(found.total_activation, total, rtol=1e-4)
    np.testing.assert_allclose(found.probability, probability, rtol=1e-4)
    np.testing.assert_array_equal(found.prediction, prediction)
    np.testing.assert_allclose(found.projection, picture, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.image, IMAGE)
    expected = totals.max(), np.exp(logits[1]) / np.exp(logits).sum(), logits.argmax()
    np.testing.assert_allclose(found.in_the_open, np.asarray(expected, np.float64), rtol=1e-4)
    rows, columns = found.centers
    np.testing.assert_array_equal(rows, [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(columns, [0, 2, 4, 6])


def look(place, x):
    """One map that looks at a place, and a class that needs it."""
    seen = x * jnp.zeros((12, 12, 1)).at[place].set(1.0)[None]
    logit = 20 * seen.sum((1, 2)) - 12
    return {"maps": jax.nn.relu(seen), "logits": jnp.concatenate([logit, -logit], axis=-1)}


def test_where_the_square_covers_what_counts():
    image = np.full((12, 12, 1), 0.9, np.float32)
    place = (jnp.asarray(3), jnp.asarray(7))
    found = occlusion(Partial(look, place), image, "maps", size=3, stride=1, background=0.0)
    near = np.abs(np.arange(12)[:, None] - 3) <= 1
    near = near & (np.abs(np.arange(12)[None] - 7) <= 1)
    np.testing.assert_array_equal(found.prediction, near)
    np.testing.assert_allclose(found.total_activation, np.where(near, 0, 0.9), rtol=1e-6)
    np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(-np.where(near, -24, 12))), rtol=1e-4)
    assert found.label == 0
    assert found.projection[3, 7, 0] == pytest.approx(0.9)
    # By default a quarter of the side, at steps of a quarter of that.
    default = occlusion(Partial(look, place), image, "maps")
    assert default.probability.shape == (12, 12)
    np.testing.assert_array_equal(default.prediction, near)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(layer="hiden"), "layer='hiden' is unknown; .*perhaps you meant hidden"),
        (dict(layer="0"), r"'0' has shape \(1, 3\).*expected maps"),
        (dict(logits="hidden"), "expected logits"),
        (dict(label=3), "label=3 must be from 0 and below 3"),
        (dict(channel=4), "channel=4 must be from 0 and below 4"),
        (dict(size=9), "size=9"),
        (dict(stride=0), "stride=0"),
        (dict(background=(0.1, 0.2)), "one for each of 1 channels"),
        (dict(image=IMAGE[None]), "expected one image"),
        (dict(image=255 * IMAGE), "divide pixels by 255"),
        (dict(batch_size=0), "batch_size=0"),
    ],
)
def test_bad_input(options, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        occlusion(plain, **{"image": IMAGE, "layer": "hidden", "logits": "0", **options})


@pytest.mark.usefixtures("without_type_checks")
def test_a_network_without_a_rectifier_has_a_gradient():
    model = models.LeNet5(num_classes=3)
    image = RNG.random((28, 28, 1)).astype(np.float32)
    f = Partial(model.apply, model.init(jax.random.key(0), image[None]))
    panels = occlusion(f, image, "c3", size=28, stride=28, rule="gradient")
    maps, pull = jax.vjp(lambda x: f(x)[1]["c3"], image[None])
    first = np.unravel_index(np.asarray(maps[0, :, :, panels.channel]).argmax(), maps.shape[1:3])
    one = jnp.zeros_like(maps).at[0, *first, panels.channel].set(maps[0, *first, panels.channel])
    np.testing.assert_allclose(panels.projection, pull(one)[0][0], rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match=r"rule='deconvnet'.*tanh.*rule='gradient' needs none"):
        occlusion(f, image, "c3")
    with pytest.raises(InputError, match="rule='relu' is unknown"):
        occlusion(f, image, "c3", rule="relu")  # pyright: ignore[reportArgumentType]


def test_correspondence_is_its_definition():
    images = RNG.random((4, 6, 6, 1)).astype(np.float32)
    covered = images.copy()
    covered[:, 2:4, 2:4] = 0.5
    found = correspondence(plain, images, covered)[1]["hidden"]
    open_maps, covered_maps = (np.asarray(EVALUATED(x)[1]["hidden"]).reshape(4, -1) for x in (images, covered))
    change = np.sign(open_maps - covered_maps)
    total = sum((change[i] != change[j]).sum() for i in range(4) for j in range(4) if i != j)
    assert found.delta == pytest.approx(total)
    assert found.mean == pytest.approx(total / 12 / change.shape[1])


@every_framework
def test_correspondence_of_what_changes_alike(make):
    """Of images that are equal but for a brightness that drops out it is 0, of a part and its negative it is not."""
    f = make()
    image = RNG.random((6, 6, 1)).astype(np.float32)
    same = np.stack([image, image])
    covered = same.copy()
    covered[:, 2:4, 2:4] = 0
    assert correspondence(f, same, covered)[1]["hidden"].delta == 0
    covered[1, 2:4, 2:4] = 2 * image[2:4, 2:4]
    assert correspondence(f, same, covered)[1]["hidden"].mean > 0.1


def test_correspondence_needs_something_covered():
    images = RNG.random((3, 6, 6, 1)).astype(np.float32)
    with pytest.raises(InputError, match="image 0 is the same"):
        correspondence(plain, images, images)
    with pytest.raises(InputError, match="two or more"):
        correspondence(plain, images, images[:2])
