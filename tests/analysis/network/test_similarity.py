"""Centred kernel alignment against its definition written out, and what it is invariant to and what not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, analysis

random = np.random.default_rng(0)
X = random.normal(size=(12, 3, 4, 2))
Y = X.reshape(12, -1)[:, :7] ** 2 + random.normal(size=(12, 7))


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def hsic(x, y):
    """Gretton et al. 2005 with linear kernels, (n − 1)⁻² tr(K H L H), as sums over pairs of images."""
    n = len(x)
    h = np.eye(n) - 1 / n
    k = np.array([[np.dot(a, b) for b in x] for a in x])
    other = np.array([[np.dot(a, b) for b in y] for a in y])
    return np.trace(k @ h @ other @ h) / (n - 1) ** 2


def unbiased_hsic(x, y):
    """Song et al. 2012, equation 5."""
    n, one = len(x), np.ones(len(x))
    k, m = (z @ z.T - np.diag((z**2).sum(1)) for z in (x, y))
    first = np.trace(k @ m)
    second = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (one @ k @ m @ one)
    return (first + second - third) / (n * (n - 3))


@pytest.mark.parametrize(("unbiased", "product"), [(False, hsic), (True, unbiased_hsic)])
def test_against_the_definition(unbiased, product):
    x, y = X.reshape(12, -1), Y
    expected = product(x, y) / np.sqrt(product(x, x) * product(y, y))
    assert float(analysis.cka(X, Y, unbiased=unbiased)) == pytest.approx(expected, rel=1e-10)
    # Units less their means give the same in feature space: ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖).
    if not unbiased:
        a, b = x - x.mean(0), y - y.mean(0)
        norm = np.linalg.norm
        assert norm(a.T @ b) ** 2 / (norm(a.T @ a) * norm(b.T @ b)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("unbiased", [False, True])
def test_what_it_is_invariant_to_and_what_not(unbiased):
    def cka(x, y):
        return float(analysis.cka(x, y, unbiased=unbiased))

    turn, _ = np.linalg.qr(random.normal(size=(7, 7)))
    value = cka(X, Y)
    assert cka(X, X) == pytest.approx(1, rel=1e-12)
    assert cka(Y, X) == pytest.approx(value, rel=1e-12)
    for same in (Y @ turn, -3.7 * Y, Y + np.arange(7), Y[:, ::-1], np.pad(Y, ((0, 0), (0, 5)))):
        assert cka(X, same) == pytest.approx(value, rel=1e-10)
    assert cka(Y, Y @ turn) == pytest.approx(1, rel=1e-10)
    assert abs(cka(X, Y * np.arange(1, 8)) - value) > 1e-3
    assert abs(cka(X, Y[::-1]) - value) > 1e-3


def test_noise_shows_the_bias_and_its_absence():
    # K of noise is near the identity: in p dimensions, n images come to p / (p + n) with the biased estimator.
    noise = random.normal(size=(2, 40, 400))
    assert float(analysis.cka(*noise)) == pytest.approx(400 / 440, abs=0.02)
    assert abs(float(analysis.cka(*noise, unbiased=True))) < 0.1


@pytest.mark.parametrize("unbiased", [False, True])
def test_the_matrix_has_every_pair(unbiased):
    arrays = [X, Y, X.reshape(12, -1)[:, :3]]
    matrix = np.asarray(analysis.cka_matrix(arrays, unbiased=unbiased))
    for i, a in enumerate(arrays):
        for j, b in enumerate(arrays):
            assert matrix[i, j] == pytest.approx(float(analysis.cka(a, b, unbiased=unbiased)), rel=1e-10)
    part = np.asarray(analysis.cka_matrix((x for x in arrays[:2]), iter(arrays[2:]), unbiased=unbiased))
    np.testing.assert_allclose(part, matrix[:2, 2:], rtol=1e-12)


def test_single_precision_holds_far_from_zero():
    # Without centring before the product, squares of 1,000 would swallow what differs.
    x = (X + 1000).astype(np.float32)
    value = analysis.cka(x, x.reshape(12, -1)[:, :5])
    assert value.dtype == np.float32
    assert float(value) == pytest.approx(float(analysis.cka(X, X.reshape(12, -1)[:, :5])), abs=1e-3)


def test_equal_images_have_no_alignment():
    assert np.isnan(float(analysis.cka(jnp.ones((5, 3)), Y[:5])))


@pytest.mark.parametrize(
    ("first", "second", "unbiased", "message"),
    [
        ([X], [Y[:5]], False, "activations of 5 and 12 images cannot be compared"),
        ([X[:1]], [Y[:1]], False, "1 images are too few to compare activations over: give 2 or more"),
        ([X[:3]], [Y[:3]], True, "3 images are too few to compare activations over: give 4 or more"),
        ([], [Y], False, "no activations to compare"),
        ([X], [], False, "no activations to compare"),
    ],
)
def test_bad_input(first, second, unbiased, message):
    with pytest.raises(InputError, match=message):
        analysis.cka_matrix(first, second, unbiased=unbiased)
