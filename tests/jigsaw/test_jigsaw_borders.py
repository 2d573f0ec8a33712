"""Dissimilarities of borders against scalar loops, and what they agree on."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import jigsaw
from tests.repeats import repeated

RANDOM = np.random.default_rng(0)
PIECES = RANDOM.random((5, 6, 6, 3)).astype(np.float32)
FLAT = np.concatenate([PIECES[:3], np.full((2, 6, 6, 3), 0.5, np.float32)])


def colour_jump_loop(a, b):
    return sum((b[r, 0, c] - a[r, -1, c]) ** 2 for r in range(len(a)) for c in range(3))


def pomeranz_loop(a, b):
    total = 0.0
    for r, c in itertools.product(range(len(a)), range(3)):
        total += abs(2 * a[r, -1, c] - a[r, -2, c] - b[r, 0, c]) ** 0.3
        total += abs(2 * b[r, 0, c] - b[r, 1, c] - a[r, -1, c]) ** 0.3
    return total ** ((1 / 16) / 0.3)


def mgc_loop(a, b):
    def one_side(inner, outer, beyond):
        steps = [outer[r] - inner[r] for r in range(len(outer))]
        mean = np.mean(steps, axis=0)
        dummies = [
            (0, 0, 0),
            (1, 1, 1),
            (-1, -1, -1),
            (0, 0, 1),
            (0, 1, 0),
            (1, 0, 0),
            (-1, 0, 0),
            (0, -1, 0),
            (0, 0, -1),
        ]
        covariance = np.cov(np.array([*steps, *(np.array(d) / 255 for d in dummies)]).T)
        inverse = np.linalg.inv(covariance)
        return sum((beyond[r] - outer[r] - mean) @ inverse @ (beyond[r] - outer[r] - mean) for r in range(len(outer)))

    a, b = a.astype(np.float64), b.astype(np.float64)
    return one_side(a[:, -2], a[:, -1], b[:, 0]) + one_side(b[:, 1], b[:, 0], a[:, -1])


CASES = {
    "colour jump": (jigsaw.color_jump, colour_jump_loop),
    "Pomeranz": (jigsaw.pomeranz, pomeranz_loop),
    "MGC": (jigsaw.mahalanobis_gradient, mgc_loop),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("pieces", [PIECES, FLAT], ids=["noise", "flat"])
def test_every_pair_equals_a_scalar_loop(name, pieces):
    dissimilarity, loop = CASES[name]
    table = jigsaw.fits(jnp.asarray(pieces), dissimilarity)
    n = len(pieces)
    assert np.isinf(np.diag(table.right)).all()
    for i, j in itertools.permutations(range(n), 2):
        np.testing.assert_allclose(table.right[i, j], loop(pieces[i], pieces[j]), rtol=2e-5, atol=1e-6)
        # Below: both transposed, a border at the bottom is one at the right.
        up, low = pieces[i].swapaxes(0, 1), pieces[j].swapaxes(0, 1)
        np.testing.assert_allclose(table.down[i, j], loop(up, low), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_turned_states_are_turned_pieces(name):
    dissimilarity, loop = CASES[name]
    table = jigsaw.fits(jnp.asarray(PIECES), dissimilarity, rotate=True)
    n = len(PIECES)
    for k, m in itertools.product(range(4), repeat=2):
        value = table.right[k * n + 1, m * n + 3]
        np.testing.assert_allclose(value, loop(np.rot90(PIECES[1], k), np.rot90(PIECES[3], m)), rtol=2e-5)
        below = loop(np.rot90(PIECES[1], k).swapaxes(0, 1), np.rot90(PIECES[3], m).swapaxes(0, 1))
        np.testing.assert_allclose(table.down[k * n + 1, m * n + 3], below, rtol=2e-5)
        assert np.isinf(table.right[k * n + 1, m * n + 1])


def test_in_double_precision():
    with jax.enable_x64(True):
        pieces = jnp.asarray(PIECES, jnp.float64)
        value = jax.jit(jigsaw.mahalanobis_gradient)(jigsaw.facing_right(pieces, 0), jigsaw.facing_left(pieces, 0))
        assert value.dtype == jnp.float64
        np.testing.assert_allclose(value[0, 1], mgc_loop(PIECES[0], PIECES[1]), rtol=1e-12)


def test_product_of_gradient_and_prediction_ranks_like_its_definition():
    right, left = jigsaw.facing_right(jnp.asarray(PIECES), 0), jigsaw.facing_left(jnp.asarray(PIECES), 0)

    @jax.jit
    def both(right, left):
        gradient, prediction = jigsaw.mahalanobis_gradient(right, left), jigsaw.in_lab(jigsaw.pomeranz)(right, left)
        return jigsaw.gradient_and_prediction(right, left), gradient * prediction**16

    np.testing.assert_allclose(*both(right, left), rtol=1e-4)


def test_lab_of_known_colours():
    # Lindbloom's calculator, sRGB under D65.
    known = {
        (1, 1, 1): (100, 0, 0),
        (0, 0, 0): (0, 0, 0),
        (1, 0, 0): (53.24, 80.09, 67.20),
        (0, 1, 0): (87.73, -86.18, 83.18),
        (0, 0, 1): (32.30, 79.19, -107.86),
    }
    colors = jnp.asarray(list(known), jnp.float32)
    np.testing.assert_allclose(jigsaw.rgb_to_lab(colors), list(known.values()), atol=0.03)


def test_lab_against_scikit_image():
    color = pytest.importorskip("skimage.color", reason="the reference is scikit-image's")
    np.testing.assert_allclose(jigsaw.rgb_to_lab(jnp.asarray(PIECES)), color.rgb2lab(PIECES), atol=2e-3)


@pytest.mark.parametrize("dtype", repeated([jnp.bfloat16, jnp.float16]))
@pytest.mark.parametrize("dissimilarity", [jigsaw.mahalanobis_gradient, jigsaw.gradient_and_prediction])
def test_halves_are_compared_as_the_floats_they_are(dissimilarity, dtype):
    pieces = jnp.asarray(PIECES, dtype)
    borders = jigsaw.facing_right(pieces, 0), jigsaw.facing_left(pieces, 0)
    expected = dissimilarity(*(border.astype(jnp.float32) for border in borders))
    np.testing.assert_array_equal(dissimilarity(*borders), expected)
