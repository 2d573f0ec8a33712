"""Measures of half-precision activations against their definitions in NumPy's float64, of the same numbers.

The largest numbers here have sums, squares and differences that float16 does not hold.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import analysis
from tests.repeats import repeated

HALF = pytest.mark.parametrize("half", repeated([jnp.bfloat16, jnp.float16]), ids=lambda dtype: dtype.__name__)


def at_scales(small, large):
    """Numbers near the smallest or the largest of float16, in either kind of half precision."""
    cases = [(jnp.float16, large), (jnp.bfloat16, small), (jnp.float16, small), (jnp.bfloat16, large)]
    return pytest.mark.parametrize(("half", "scale"), repeated(cases, quick=2))


IMAGES = np.random.default_rng(0).uniform(size=(5, 6, 6, 3)).astype(np.float32)


def exact(a):
    return np.asarray(a).astype(np.float64)


def lengths(a):
    return np.sqrt(np.square(a.reshape(len(a), -1)).sum(1))


def spread(half, scale):
    """An activation that is the image, between −scale and scale, as half precision has it."""
    return lambda x: ((2 * x.astype(jnp.float32) - 1) * scale).astype(half)


@pytest.mark.parametrize("unbiased", [False, True])
@at_scales(1e-3, 6e4)
def test_alignment(half, unbiased, scale):
    random = np.random.default_rng(1)
    x = jnp.asarray(random.uniform(-scale, scale, (128, 8)), jnp.float32).astype(half)
    y = jnp.asarray(exact(x)[:, :3] / scale + random.normal(size=(128, 3)), jnp.float32).astype(half)
    a, b = (exact(z) - exact(z).mean(0) for z in (x, y))
    expected = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    if unbiased:
        with jax.enable_x64(True):
            expected = float(analysis.cka(exact(x), exact(y), unbiased=True))
    assert analysis.cka(x, y, unbiased=unbiased).dtype == jnp.float32
    assert float(analysis.cka(x, y, unbiased=unbiased)) == pytest.approx(expected, abs=2e-6)
    assert float(analysis.cka(x, y.astype(jnp.float32), unbiased=unbiased)) == pytest.approx(expected, abs=2e-6)
    assert float(analysis.cka(x, x, unbiased=unbiased)) == pytest.approx(1, abs=2e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_alignment_and_variance_hold_at_every_scale(scale):
    x = np.random.default_rng(1).normal(size=(12, 7)).astype(np.float32)
    expected = float(analysis.cka(x, x[:, :2]))
    assert float(analysis.cka(x * np.float32(scale), x[:, :2])) == pytest.approx(expected, abs=1e-6)
    ratios = [analysis.normalized_variance(lambda x, s=s: x * s, IMAGES, analysis.shifts(1)) for s in (1.0, scale)]
    np.testing.assert_allclose(ratios[1].ratio, ratios[0].ratio, rtol=1e-5)
    np.testing.assert_allclose(ratios[1].between_images, scale * ratios[0].between_images, rtol=1e-5)


@at_scales(1e-3, 6e4)
def test_distances_under_transforms(half, scale):
    columns = jnp.linspace(-1, 1, 6).reshape(1, 1, 6, 1)
    f = spread(half, scale)
    a, moved = (exact(f(jnp.asarray(x))) for x in (IMAGES, np.roll(IMAGES, 1, 2)))
    shift = analysis.Shift((0, 1), fill="circular")

    def placed(x):
        return (f(x).astype(jnp.float32) * columns).astype(half)

    before, after = (exact(placed(jnp.asarray(x))) for x in (IMAGES, np.roll(IMAGES, 1, 2)))
    expected = np.linalg.norm(after - np.roll(before, 1, 2)) / np.linalg.norm(before)
    assert analysis.equivariance_error(placed, IMAGES, shift) == pytest.approx(expected, rel=1e-5)
    assert analysis.shift_terms(placed, IMAGES, shift).total == pytest.approx(expected, rel=1e-5)
    curve = analysis.invariance_curve(f, IMAGES, [shift])
    np.testing.assert_allclose(curve[0], lengths(moved - a) / lengths(a), rtol=1e-5)
    sensitivity = analysis.translation_sensitivity_map(f, IMAGES, max_shift=1, fill="circular")
    pairs = np.median([lengths(a[i : i + 1] - a[j : j + 1]) for i in range(5) for j in range(i)])
    assert sensitivity.map[1, 2] == pytest.approx(lengths(moved - a).mean() / pairs, rel=1e-5)


@at_scales(1e-3, 6e4)
def test_variances(half, scale):
    f, orbit = spread(half, scale), analysis.shifts(1, fill="circular")
    found = analysis.normalized_variance(f, IMAGES, orbit)
    moves = [(0, 0), *map(tuple, orbit.parameters)]
    under = np.stack([exact(f(jnp.asarray(np.roll(IMAGES, move, (1, 2))))) for move in moves])
    np.testing.assert_allclose(found.under_transforms, under.std(0, ddof=1).mean(0), rtol=1e-4)
    np.testing.assert_allclose(found.between_images, under.std(1, ddof=1).mean(0), rtol=1e-4)


@HALF
def test_sums_over_space_channels_and_draws(half):
    def f(x):
        maps = (200 * x).astype(half)
        logits = jnp.stack([maps[:, :3].astype(jnp.float32).mean((1, 2, 3)), maps.astype(jnp.float32).mean((1, 2, 3))])
        return {"maps": maps, "logits": (logits.T / 50).astype(half)}

    x = np.ones((1, 40, 40, 3), np.float32)
    # 40 × 40 × 200 is above float16's 65,504, and bfloat16 adds no 1 to 256.
    panels = analysis.occlusion(f, x[0], "maps", size=40, stride=40, background=1.0, rule="gradient")
    assert panels.in_the_open[0] == panels.total_activation[0, 0] == 320_000
    cam = analysis.grad_cam(f, x, "maps", 1, output="logits").maps
    # Every gradient is 1 / (50 · 4,800), which is below float16's normal numbers.
    np.testing.assert_allclose(cam, 3 * 200 / (50 * 4800), rtol=1e-2)
    drawn = analysis.smooth_grad(f, x, "logits", 1, key=jax.random.key(0), samples=300).maps
    np.testing.assert_allclose(drawn, np.broadcast_to(analysis.saliency(f, x, "logits", 1).maps, x.shape), rtol=1e-5)


@HALF
def test_a_path_between_numbers_whose_difference_is_out_of_range(half):
    x = jnp.full((1, 4, 4, 1), 6e4, half)
    found = analysis.integrated_gradients(
        lambda x: (x.astype(jnp.float32) / 1e4).mean((1, 2)), x, baseline=-6e4, value_range=None
    )
    np.testing.assert_allclose(found.maps.sum(), 2 * exact(x).ravel()[0] / 1e4, rtol=1e-2)


@at_scales(1e-4, 1e3)
def test_filters(half, scale):
    kernel = jnp.asarray(np.random.default_rng(2).normal(size=(5, 5, 3, 4)) * scale, jnp.float32).astype(half)
    w = exact(kernel)
    np.testing.assert_allclose(analysis.filter_rms(kernel), np.sqrt(np.square(w).mean((0, 1, 2))), rtol=1e-5)
    grey = np.square(w.sum(2)).sum((0, 1)) / 3
    np.testing.assert_allclose(analysis.filter_chroma(kernel), 1 - grey / np.square(w).sum((0, 1, 2)), rtol=1e-5)
    with jax.enable_x64(True):
        angle, selectivity = analysis.filter_orientation(jnp.asarray(w / scale))
    np.testing.assert_allclose(analysis.filter_orientation(kernel)[0], angle, rtol=1e-4)
    np.testing.assert_allclose(analysis.filter_orientation(kernel)[1], selectivity, rtol=1e-4)


@HALF
def test_probabilities_and_lie_derivatives(half):
    def f(x):
        return (x.mean((1, 2)) * 5).astype(half)

    logits, labels = exact(f(jnp.asarray(IMAGES))), np.arange(5) % 3
    of_each = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = of_each[np.arange(5), labels]
    still = [analysis.Shift((0, 0))]
    np.testing.assert_allclose(analysis.confidence_curve(f, IMAGES, labels, still)[0], expected, rtol=1e-5)
    curve = analysis.deletion(f, IMAGES, np.arange(180, dtype=np.uint8).reshape(5, 6, 6), labels, steps=36)
    np.testing.assert_allclose(curve.probability[:, 0], expected, rtol=1e-5)
    # The last pixel is the most important one, also where its rank is an unsigned number.
    without = IMAGES.copy()
    without[:, 5, 5] = 0
    logits = exact(f(jnp.asarray(without)))
    of_each = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(curve.probability[:, 1], of_each[np.arange(5), labels], rtol=1e-5)
    error = analysis.local_equivariance_error(f, IMAGES, "brightness")
    assert error.lee == pytest.approx(25, rel=1e-2)
    parts = analysis.lie_attribution(f, IMAGES, "brightness")
    assert parts["output"].field.dtype == np.float32
    assert parts["output"].lee == pytest.approx(25, rel=1e-2)


@HALF
def test_signs_of_changes_of_any_dtype(half):
    images = jnp.asarray(IMAGES)
    covered = images.at[:, :3].set(0)

    def signs(f):
        change = exact(f(images)) - exact(f(covered))
        changes = np.sign(change).reshape(5, -1)
        return (changes[:, None] != changes[None]).mean(-1)

    for f in (spread(half, 6e4), lambda x: jnp.uint8(255) - (255 * x).astype(jnp.uint8)):
        np.testing.assert_allclose(analysis.correspondence(f, images, covered).distances, signs(f), atol=1e-6)


def test_pictures_of_a_network_in_bfloat16():
    def explain(f, images):
        return analysis.saliency(f, images, unit=0).maps.astype(jnp.bfloat16)

    def apply(params, x):
        return (x**2 * params["w"]).sum((1, 2))

    params, fresh = ({"w": jnp.full((1, 1, 1, 3), value)} for value in (1.0, 2.0))
    cascade = analysis.sanity.cascading_randomization(apply, params, fresh, IMAGES, explain)
    np.testing.assert_allclose(cascade.signed, 1)
