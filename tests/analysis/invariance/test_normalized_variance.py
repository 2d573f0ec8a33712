"""Normalised variance against loops over images and transforms, hand-computed cases, and exactly invariant networks."""

import functools
import gc
import itertools
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnnjax import InputError, analysis, ops, runtime
from tests.references.frameworks import MAKERS, other_frameworks
from tests.repeats import repeated

IMAGES = np.random.default_rng(0).random((7, 6, 6, 1)).astype(np.float32)
ORBIT = analysis.shifts(1, fill="circular")


def by_loops(activation, images, orbit):
    """`activation` is a NumPy function of one image."""
    members = [(0, 0), *map(tuple, orbit.parameters)]
    table = np.array([[activation(np.roll(image, t, (0, 1))) for t in members] for image in images], np.float64)
    under = np.mean([table[x].std(axis=0, ddof=1) for x in range(len(images))], axis=0)
    between = np.mean([table[:, t].std(axis=0, ddof=1) for t in range(len(members))], axis=0)
    return under, between


def square_of_every_second(x):
    return x[..., ::2, ::2, :] ** 2


@pytest.mark.parametrize(
    ("batch", "dtype"), repeated([(3, np.float64), (1, np.float32), (3, np.float32), (512, np.float64)], quick=2)
)
def test_the_ratio_is_that_of_loops_written_out_for_any_batch(batch, dtype, monkeypatch):
    monkeypatch.setattr(runtime, "evaluation_batch", lambda pixels: batch)
    with jax.enable_x64(dtype == np.float64):
        images = IMAGES.astype(dtype)
        found = analysis.normalized_variance(square_of_every_second, images, ORBIT)
    under, between = by_loops(square_of_every_second, images, ORBIT)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    assert found.under_transforms.dtype == dtype
    assert found.ratio.shape == (3, 3, 1)
    np.testing.assert_allclose(found.under_transforms, under, rtol=tolerance)
    np.testing.assert_allclose(found.between_images, between, rtol=tolerance)
    np.testing.assert_allclose(found.ratio, under / between, rtol=2 * tolerance)
    assert found.mean == pytest.approx((under / between).mean(), rel=2 * tolerance)


def brightness(*steps):
    return analysis.Orbit(
        "brightness", np.array(steps, np.float32), np.zeros((), np.float32), lambda x, step: x + step, "exact", ()
    )


def test_two_images_and_one_transform_by_hand():
    pixels = np.array([0, 4], np.float32).reshape(2, 1, 1, 1)
    found = analysis.normalized_variance(lambda x: {"once": x, "twice": 2 * x}, pixels, brightness(3))
    # The values are 0, 3 of one image and 4, 7 of the other: they differ by 3 under the transform, by 4 between images.
    for name, factor in (("once", 1), ("twice", 2)):
        np.testing.assert_allclose(found[name].under_transforms.item(), factor * 3 / np.sqrt(2), rtol=1e-6)
        np.testing.assert_allclose(found[name].between_images.item(), factor * 4 / np.sqrt(2), rtol=1e-6)
        assert found[name].mean == pytest.approx(3 / 4, rel=1e-6)


def test_an_exactly_invariant_unit_has_0():
    whole = np.random.default_rng(0).integers(0, 9, (5, 4, 4, 1)).astype(np.float32)
    found = analysis.normalized_variance(lambda x: x.sum((1, 2)), whole, ORBIT)
    assert found.ratio == 0
    assert found.mean == 0


def test_units_that_images_leave_alone_are_left_out_of_the_mean():
    def f(x):
        dead, constant = jnp.zeros_like(x), jnp.full_like(x, 0.1)
        return jnp.concatenate([x, dead, constant], -1)

    found = analysis.normalized_variance(f, IMAGES, ORBIT)
    alone = analysis.normalized_variance(lambda x: x, IMAGES, ORBIT)
    assert np.isnan(found.ratio[..., 1:]).all()
    assert found.mean == pytest.approx(alone.mean, rel=1e-6)
    np.testing.assert_allclose(found.by_channel, [alone.mean, np.nan, np.nan], rtol=1e-6)
    same = analysis.normalized_variance(lambda x: x, np.repeat(IMAGES[:1], 3, 0), ORBIT)
    assert np.isinf(same.ratio).all()
    assert np.isnan(same.mean)


def test_channels_are_averaged_over_positions():
    ratio = np.array([[[1.0, 5.0], [2.0, np.nan]], [[3.0, 7.0], [np.inf, 9.0]]])
    found = analysis.NormalizedVariance(ratio, np.ones_like(ratio))
    np.testing.assert_allclose(found.by_channel, [2.0, 7.0])
    assert found.mean == pytest.approx((1 + 2 + 3 + 5 + 7 + 9) / 6)
    flat = analysis.NormalizedVariance(np.array([1.0, 2.0]), np.array([2.0, 1.0]))
    np.testing.assert_allclose(flat.by_channel, [0.5, 2.0])


def test_a_large_mean_does_not_drown_the_deviation():
    offset = (1e4 + np.random.default_rng(0).normal(size=(40, 3, 3, 1))).astype(np.float32)
    found = analysis.normalized_variance(lambda x: x, offset, ORBIT)
    under, between = by_loops(lambda x: x, offset, ORBIT)
    np.testing.assert_allclose(found.under_transforms, under, rtol=1e-3)
    np.testing.assert_allclose(found.between_images, between, rtol=1e-3)


@functools.cache
def of_framework(make):
    return analysis.normalized_variance(make(), IMAGES, ORBIT)


@other_frameworks
def test_every_framework_gives_the_same(make):
    found, expected = of_framework(make), of_framework(MAKERS["plain"])
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a.ratio, b.ratio, rtol=1e-4)


def test_a_module_that_has_changed_is_measured_anew():
    module = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    before = analysis.normalized_variance(module, IMAGES, ORBIT).under_transforms
    module.kernel = nnx.Param(2 * module.kernel[...])
    after = analysis.normalized_variance(module, IMAGES, ORBIT).under_transforms
    np.testing.assert_allclose(after, 2 * before, rtol=1e-5)


def test_networks_of_one_architecture_share_a_compilation():
    traced = []

    def scaled(factor, x):
        traced.append(factor)
        return factor * x

    counts = []
    for factor in (2.0, 3.0):
        network = jax.tree_util.Partial(scaled, jnp.float32(factor))
        found = analysis.normalized_variance(network, IMAGES, ORBIT)
        counts.append(len(traced))
        np.testing.assert_allclose(found.under_transforms, factor * by_loops(lambda x: x, IMAGES, ORBIT)[0], rtol=1e-5)
    # Both are traced for their shapes, the first for its program.
    assert counts == [2, 3]


def test_a_function_is_not_kept_alive():
    class Weights:
        factor = 2.0

    weights = Weights()
    kept = weakref.ref(weights)
    analysis.normalized_variance(lambda x, weights=weights: weights.factor * x, IMAGES, ORBIT)
    del weights
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize(("padding", "exact"), [("circular", True), ("same", False)])
def test_stride_1_is_invariant_to_circular_shifts_with_circular_padding_alone(padding, exact):
    # Fact 2.
    kernels = [
        jnp.asarray(np.random.default_rng(i).normal(size=(3, 3, n, 4)), jnp.float32) for i, n in enumerate((1, 4))
    ]

    def f(x):
        for kernel in kernels:
            x = jax.nn.relu(ops.conv(x, kernel, padding=padding))
        return x.mean((1, 2)), x

    pooled, maps = analysis.normalized_variance(f, IMAGES, ORBIT)
    assert pooled.mean < 1e-5 if exact else pooled.mean > 1e-2
    assert maps.mean > 0.2


def test_group_convolution_is_invariant_to_quarter_turns():
    # Fact 6, at a size and stride where quarter turns keep the grid.
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 1, 4)), jnp.float32)

    def f(x, stride):
        return ops.group_pool(ops.lifting_conv(x, kernel, stride=stride, exact=False)).mean((1, 2))

    images = np.random.default_rng(0).random((4, 7, 7, 1)).astype(np.float32)
    turns = analysis.rotations(90)
    assert analysis.normalized_variance(lambda x: f(x, 2), images, turns).mean < 1e-5
    uneven = analysis.normalized_variance(lambda x: f(x, 2), images[:, :6, :6], turns)
    assert uneven.mean > 1e-2


def poisoned(value):
    images = IMAGES.copy()
    images[2, 3, 3] = value
    return images


BAD = [
    (lambda x: x, IMAGES[:1], "needs at least 2"),
    (lambda x: x, IMAGES[:0], "empty"),
    (lambda x: x, IMAGES[0, 0], r"\(6, 1\)"),
    (lambda x: x, (9 * IMAGES).astype(np.uint8), "uint8"),
    (lambda x: x, poisoned(np.nan), "NaN"),
    (lambda x: x, poisoned(np.inf), "NaN"),
    (lambda x: x.sum(), IMAGES, r"output is float32 of shape \(\) for 7 images"),
    (lambda x: {"moved": jnp.moveaxis(x, 0, 1)}, IMAGES, "moved"),
    (lambda x: jnp.fft.fft2(x, axes=(1, 2)), IMAGES, "complex"),
    (lambda x: {"log": jnp.log(x - 2)}, IMAGES, "log is not finite on images of the orbit shift_circular"),
]
MEASURES = [
    lambda f, x: analysis.normalized_variance(f, x, ORBIT),
    lambda f, x: analysis.goodfellow_invariance(f, x, ORBIT, firing_rate=0.2),
    lambda f, x: analysis.translation_sensitivity_map(f, x, max_shift=1, fill="circular"),
]


@pytest.mark.parametrize(("measure", "bad"), list(itertools.product(MEASURES, BAD)))
def test_bad_input_is_refused_by_every_measure(measure, bad):
    f, images, message = bad
    with pytest.raises(InputError, match=message):
        measure(f, images)
