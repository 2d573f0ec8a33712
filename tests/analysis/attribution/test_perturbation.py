"""Deletion, insertion and the pointing game against their definitions, and of networks whose object is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from cnnjax import InputError, data, ops
from cnnjax.analysis import deletion, grad_cam, insertion, pointing_game, saliency, strength
from cnnjax.data.shapes import KINDS, render
from tests.references.frameworks import every_framework, plain

RNG = np.random.default_rng(0)
IMAGES = RNG.random((3, 4, 5, 1)).astype(np.float32)
IMPORTANCE = RNG.integers(0, 5, (3, 4, 5)).astype(np.float32)


def by_loops(start, end, labels, counts):
    curves = np.zeros((3, len(counts)))
    for i in range(3):
        order = sorted(range(20), key=lambda p: (-IMPORTANCE[i].flat[p], p))
        for k, count in enumerate(counts):
            x = start[i].copy()
            for pixel in order[:count]:
                x[np.unravel_index(pixel, (4, 5))] = end[i][np.unravel_index(pixel, (4, 5))]
            logits = np.asarray(plain(jnp.asarray(x)[None])[0][0], np.float64)
            curves[i, k] = np.exp(logits[labels[i]]) / np.exp(logits).sum()
    return curves


@every_framework
def test_the_definition(make):
    grey, labels = np.full_like(IMAGES, 0.5), np.array([0, 2, 1])
    counts = [0, 5, 10, 15, 20]
    out = deletion(make(), IMAGES, IMPORTANCE, labels, logits="0", background=0.5, steps=4)
    np.testing.assert_allclose(out.probability, by_loops(IMAGES, grey, labels, counts), rtol=1e-4)
    into = insertion(make(), IMAGES, IMPORTANCE, labels, logits="0", background=grey, steps=4)
    np.testing.assert_allclose(into.probability, by_loops(grey, IMAGES, labels, counts), rtol=1e-4)
    np.testing.assert_array_equal(out.fraction, [0, 0.25, 0.5, 0.75, 1])
    p = into.probability
    np.testing.assert_allclose(into.auc, (p[:, :-1] + p[:, 1:]).mean(1) / 2, rtol=1e-6)
    # What one takes away the other has put there in the end.
    np.testing.assert_allclose(out.probability[:, 0], into.probability[:, -1], rtol=1e-5)


def test_the_right_order_is_the_best():
    """A class that is three pixels: the map that names them deletes it at once, and inserts it at once."""

    def f(x):
        seen = x[:, 1, 1:4].sum((1, 2))
        return jnp.stack([6 * seen - 9, jnp.zeros_like(seen)], axis=1)

    images = np.full((1, 5, 5, 1), 1.0, np.float32)
    right = np.zeros((1, 5, 5), np.float32)
    right[0, 1, 1:4] = 1
    for measure, sign in ((deletion, -1), (insertion, 1)):
        scores = [float(measure(f, images, s * right, steps=25).auc[0]) for s in (1, -1)]
        assert sign * (scores[0] - scores[1]) > 0.7
    assert deletion(f, images, right).labels[0] == 0


def test_pointing():
    truth = np.zeros((4, 6, 6), bool)
    truth[:, 2:4, 2:4] = True
    maps = np.zeros((4, 6, 6))
    maps[0, 3, 2], maps[1, 3, 4], maps[2, 0, 2] = 1, 1, 1
    np.testing.assert_array_equal(pointing_game(maps, truth), [True, False, False, False])
    np.testing.assert_array_equal(pointing_game(maps, truth, tolerance=1), [True, True, False, False])
    np.testing.assert_array_equal(pointing_game(maps, truth, tolerance=2), [True, True, True, False])


def test_shape_pairs_are_where_they_are_said_to_be():
    images, kinds, masks = data.shape_pairs(jax.random.key(0), 40, size=16)
    assert images.shape == (40, 32, 32, 1)
    assert (kinds[:, 0] != kinds[:, 1]).all()
    assert np.bincount(kinds[:, 0]).tolist() == [5] * 8
    assert not (masks[:, 0] & masks[:, 1]).any()
    np.testing.assert_array_equal(masks.any(1), np.asarray(images[..., 0]) >= 0.5)
    # Each keeps to a quarter, none to the centre.
    quarters = masks.reshape(40, 2, 2, 16, 2, 16).any((3, 5)).reshape(40, 2, 4)
    assert (quarters.sum(2) == 1).all()
    assert len(np.unique(quarters.argmax(2)[:, 0])) == 4
    with pytest.raises(InputError, match="size=7"):
        data.shape_pairs(jax.random.key(0), 4, size=7)


def matched(templates, x):
    """For each kind of shape the best match of its outline anywhere: a detector that needs no training."""
    maps = jax.nn.relu(ops.conv(x, templates))
    return {"maps": maps, "logits": maps.max((1, 2))}


def test_a_detector_is_seen_to_look_at_its_shape():
    """Where the truth is known: a map that is asked for one of two shapes points at it. The centre never does."""
    scenes = np.array([[kind, 0, 0, 0, 5.0] for kind in range(len(KINDS))])
    drawn = np.array(jax.jit(render, static_argnames="canvas")(scenes, canvas=15))[..., 0]
    drawn -= drawn.mean((1, 2), keepdims=True)
    templates = (drawn / np.linalg.norm(drawn, axis=(1, 2), keepdims=True)).transpose(1, 2, 0)[:, :, None]
    f = Partial(matched, jnp.asarray(templates, jnp.float32))
    images, kinds, masks = data.shape_pairs(jax.random.key(1), 40, size=16)
    # Shapes that it takes for what they are.
    logits = np.asarray(f(images)["logits"])
    clear = [i for i in range(40) if set(np.argsort(logits[i])[-2:]) == set(kinds[i])]
    assert len(clear) >= 8
    images, kinds, masks = images[np.array(clear)], kinds[clear], masks[clear]
    for which in (0, 1):
        truth = masks[:, which]
        cam = grad_cam(f, images, "maps", kinds[:, which], output="logits").maps[..., 0]
        gradient = strength(saliency(f, images, "logits", kinds[:, which]).maps)
        center = np.zeros_like(cam)
        center[:, 15:17, 15:17] = 1
        assert pointing_game(cam, truth, tolerance=2).mean() > 0.7
        assert pointing_game(gradient, truth, tolerance=2).mean() > 0.7
        assert pointing_game(center, truth).mean() < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deletion(plain, IMAGES, IMPORTANCE[:2], logits="0"), "importance has shape"),
        (lambda: deletion(plain, IMAGES, IMPORTANCE * np.nan, logits="0"), "none of them NaN"),
        (lambda: deletion(plain, IMAGES, IMPORTANCE, [0, 1, 3], logits="0"), "below 3"),
        (lambda: deletion(plain, IMAGES, IMPORTANCE, logits="hidden"), "expected logits"),
        (lambda: insertion(plain, IMAGES, IMPORTANCE, logits="0", steps=21), "steps=21"),
        (lambda: insertion(plain, IMAGES, IMPORTANCE, logits="0", background=np.zeros((2, 4, 5, 1))), "background"),
        (lambda: pointing_game(IMPORTANCE, IMPORTANCE), "maps and masks alike"),
        (lambda: pointing_game(IMPORTANCE, IMPORTANCE > 9), "image 0 has no object"),
        (lambda: pointing_game(IMPORTANCE, IMPORTANCE > 1, tolerance=-1), "tolerance=-1"),
    ],
)
def test_bad_input(call, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        call()
