"""Translation-sensitivity maps against distances written out in NumPy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, analysis, runtime
from tests.references.frameworks import MAKERS, other_frameworks
from tests.repeats import repeated

IMAGES = np.random.default_rng(0).random((5, 7, 8, 2)).astype(np.float32)


def moved(image, dy, dx, fill, k):
    height, width = image.shape[:2]
    if fill == "circular":
        return np.roll(image, (dy, dx), (0, 1))
    result = np.zeros_like(image)
    for y, x in itertools.product(range(height), range(width)):
        if 0 <= y - dy < height and 0 <= x - dx < width:
            result[y, x] = image[y - dy, x - dx]
    return result[k : height - k, k : width - k] if fill == "crop" else result


def features(x):
    return np.concatenate([x.mean((-3, -2)), x.max((-3, -2)) ** 2], -1)


def by_loops(images, k, fill):
    table = np.zeros((2 * k + 1, 2 * k + 1))
    still = [features(moved(image, 0, 0, fill, k).astype(np.float64)) for image in images]
    for dy, dx in itertools.product(range(-k, k + 1), repeat=2):
        apart = [features(moved(i, dy, dx, fill, k).astype(np.float64)) - f for i, f in zip(images, still, strict=True)]
        table[dy + k, dx + k] = np.mean([np.sqrt((a**2).sum()) for a in apart])
    between = np.median([np.sqrt(((a - b) ** 2).sum()) for a, b in itertools.combinations(still, 2)])
    return table / between, between


@pytest.mark.parametrize(
    ("fill", "batch"), repeated([("zero", 1), ("circular", 2), ("crop", 512), ("zero", 512), ("crop", 2)], quick=3)
)
def test_the_map_is_that_of_loops_written_out(fill, batch, monkeypatch):
    monkeypatch.setattr(runtime, "evaluation_batch", lambda pixels: batch)

    def f(x):
        return jnp.concatenate([x.mean((1, 2)), x.max((1, 2)) ** 2], -1)

    found = analysis.translation_sensitivity_map(f, IMAGES, max_shift=2, fill=fill)
    expected, between = by_loops(IMAGES, 2, fill)
    assert found.between_images == pytest.approx(between, rel=1e-5)
    assert found.map[2, 2] == 0
    np.testing.assert_allclose(found.map, expected, rtol=1e-4, atol=1e-5)


def test_every_activation_has_its_map_in_double_precision():
    with jax.enable_x64(True):
        images = IMAGES.astype(np.float64)
        found = analysis.translation_sensitivity_map(
            lambda x: {"pixels": x, "twice": [2 * x]}, images, max_shift=1, fill="circular"
        )
    distance = np.sqrt(((np.roll(images, -1, 1) - images) ** 2).sum((1, 2, 3))).mean()
    between = np.median([np.linalg.norm(a - b) for a, b in itertools.combinations(images, 2)])
    np.testing.assert_allclose(found["pixels"].map[0, 1], distance / between, rtol=1e-12)
    np.testing.assert_allclose(found["twice"][0].map, found["pixels"].map, rtol=1e-12)
    assert found["twice"][0].between_images == pytest.approx(2 * between, rel=1e-12)


def test_what_is_invariant_has_an_empty_map_and_another_image_is_1():
    whole = np.random.default_rng(0).integers(0, 9, (2, 4, 4, 1)).astype(np.float32)
    found = analysis.translation_sensitivity_map(lambda x: x.sum((1, 2)), whole, max_shift=2, fill="circular")
    np.testing.assert_array_equal(found.map, np.zeros((5, 5)))
    # The second image is the first, one pixel lower.
    pair = np.stack([whole[0], np.roll(whole[0], 1, 0)])
    found = analysis.translation_sensitivity_map(lambda x: x, pair, max_shift=1, fill="circular")
    assert found.map[2, 1] == found.map[0, 1] == pytest.approx(1)


def test_the_same_answer_for_all_images_is_no_measure():
    found = analysis.translation_sensitivity_map(lambda x: 0 * x + 0.1, IMAGES, max_shift=1)
    assert found.between_images == 0
    assert np.isnan(found.map).all()


def test_the_profile_is_the_mean_over_rings():
    table = np.random.default_rng(0).random((7, 7))
    found = analysis.TranslationSensitivity(table, 1.0).profile
    rings = {r: [] for r in range(4)}
    for dy, dx in itertools.product(range(-3, 4), repeat=2):
        if (radius := round((dy**2 + dx**2) ** 0.5)) <= 3:
            rings[radius].append(table[dy + 3, dx + 3])
    assert len(rings[1]) == 8
    np.testing.assert_allclose(found, [np.mean(rings[r]) for r in range(4)])


@functools.cache
def of_framework(make):
    return analysis.translation_sensitivity_map(make(), IMAGES[..., :1], max_shift=1)


@other_frameworks
def test_every_framework_gives_the_same(make):
    found, expected = of_framework(make), of_framework(MAKERS["plain"])
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a.map, b.map, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "max_shift", "fill", "message"),
    [
        (IMAGES, 7, "zero", r"max_shift=7 does not fit images of shape \(5, 7, 8, 2\)"),
        (IMAGES, 4, "crop", "max_shift=4 leaves no window"),
        (IMAGES, 0, "zero", "max_shift=0 must be at least 1"),
        (IMAGES, 1, "mirror", "fill='mirror' is unknown"),
        (IMAGES[:, 0], 1, "zero", r"orbits move images"),
    ],
)
def test_shifts_that_do_not_fit_are_refused(images, max_shift, fill, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        analysis.translation_sensitivity_map(lambda x: x, images, max_shift=max_shift, fill=fill)
