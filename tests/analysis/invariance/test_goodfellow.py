"""Goodfellow's invariance score against its definition written out, and units whose score is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.tree_util import Partial

from cnnjax import InputError, analysis, runtime
from tests.drawn_cases import drawn_cases
from tests.references.frameworks import MAKERS, other_frameworks
from tests.repeats import repeated

IMAGES = np.random.default_rng(0).random((20, 5, 5, 1)).astype(np.float32)
SHIFTS = analysis.shifts(1, fill="circular")

# Images are tables of activations, and transforms change them by whole numbers: every comparison is exact.
STEPS = np.array([[1, 1], [1, -2], [-1, 0]], np.int32)
TABLES = analysis.Orbit(
    "steps", STEPS, np.array([1, 0], np.int32), lambda x, t: x * t[0].astype(x.dtype) + t[1].astype(x.dtype), "", ()
)


def itself(x):
    return x


def by_definition(values, moved, firing_rate):
    """Sign, threshold, G and L of one unit from its values `(images,)` and `(transforms, images)`."""
    found = []
    for sign in (1, -1):
        h, transformed = sign * values, sign * moved
        levels = np.unique(h)
        # The greatest threshold that lets enough images fire; between two levels all do alike.
        middles = [-np.inf, *((levels[1:] + levels[:-1]) / 2)]
        threshold = max(t for t in middles if np.mean(h > t) >= firing_rate)
        fires = h > threshold
        local = np.mean([np.mean([transformed[t, z] > threshold for t in range(len(moved))]) for z in fires.nonzero()])
        found.append((sign, threshold, np.mean(fires), local))
    return max(found, key=lambda unit: unit[3] / unit[2])


@given(st.lists(st.lists(st.integers(-4, 4), min_size=10, max_size=10), min_size=3, max_size=3), st.data())
@drawn_cases(20)
def test_scores_are_those_of_the_definition(units, data):
    firing_rate = data.draw(st.sampled_from([0.1, 0.25, 0.5]))
    images = np.array(units, np.float32).T.reshape(10, 1, 1, 3)
    found = analysis.goodfellow_invariance(Partial(itself), images, TABLES, firing_rate=firing_rate)
    for unit, values in enumerate(np.array(units)):
        moved = np.array([a * values + b for a, b in STEPS])
        sign, threshold, globally, locally = by_definition(values, moved, firing_rate)
        at = (0, 0, unit)
        np.testing.assert_allclose(found.score[at], locally / globally, rtol=1e-6)
        # Where both signs score the same, either will do.
        if found.sign[at] == sign:
            assert found.threshold[at] == threshold
            np.testing.assert_allclose((found.global_rate[at], found.local_rate[at]), (globally, locally), rtol=1e-6)


@pytest.mark.parametrize(
    ("batch", "dtype"), repeated([(6, np.float64), (1, np.float32), (6, np.float32), (20, np.float32)], quick=2)
)
def test_batches_make_no_difference(batch, dtype, monkeypatch):
    monkeypatch.setattr(runtime, "evaluation_batch", lambda pixels: batch)
    with jax.enable_x64(dtype == np.float64):
        found = analysis.goodfellow_invariance(itself, IMAGES.astype(dtype), SHIFTS, firing_rate=0.15)
    for at in np.ndindex(5, 5, 1):
        values = IMAGES[:, *at].astype(np.float64)
        moved = np.array([np.roll(IMAGES, t, (1, 2))[:, *at] for t in SHIFTS.parameters])
        sign, threshold, globally, locally = by_definition(values, moved, 0.15)
        assert globally == pytest.approx(0.15)
        assert found.score[at] == pytest.approx(locally / globally, rel=1e-6)
        if found.sign[at] == sign:
            assert found.threshold[at] == pytest.approx(threshold, rel=1e-6)


def test_an_invariant_unit_scores_1_over_its_firing_rate():
    found = analysis.goodfellow_invariance(lambda x: x.mean((1, 2)), IMAGES, SHIFTS, firing_rate=0.1)
    np.testing.assert_array_equal(found.global_rate, [0.1])
    np.testing.assert_array_equal(found.local_rate, [1.0])
    assert found.network_score() == pytest.approx(10)


def test_a_unit_that_always_fires_scores_1():
    found = analysis.goodfellow_invariance(lambda x: jnp.ones_like(x[:, 0, 0]), IMAGES, SHIFTS, firing_rate=0.1)
    assert (found.threshold, found.global_rate, found.local_rate, found.score) == (-np.inf, 1, 1, 1)


def test_a_unit_that_stops_firing_scores_0():
    pixels = np.array([0, 0, 0, 1], np.float32).reshape(4, 1, 1, 1)
    # The transform adds 1 to what does not fire and takes away 1 from what does: neither sign fires any more.
    swap = analysis.Orbit("swap", np.ones(1, np.float32), np.zeros((), np.float32), lambda x, t: abs(x - t), "", ())
    found = analysis.goodfellow_invariance(itself, pixels, swap, firing_rate=0.25)
    assert found.score.item() == 0


def test_low_values_may_be_what_fires():
    # The four darkest images stay darkest; the bright ones are mixed up.
    values = np.arange(20, dtype=np.float32).reshape(20, 1, 1, 1)

    def mix(x, t):
        return jnp.where((x < 4) | (t == 0), x, 23 - x)

    orbit = analysis.Orbit("mix", np.ones(1, np.int32), np.zeros((), np.int32), mix, "", ())
    found = analysis.goodfellow_invariance(itself, values, orbit, firing_rate=0.2)
    assert (found.sign.item(), found.threshold.item(), found.score.item()) == (-1, -3.5, 5)
    mirrored = analysis.goodfellow_invariance(lambda x: -x, values, orbit, firing_rate=0.2)
    assert (mirrored.sign.item(), mirrored.threshold.item(), mirrored.score.item()) == (1, -3.5, 5)


def test_zeros_of_a_rectifier_raise_the_firing_rate():
    values = np.array([0, 0, 0, 0, 0, 0, 0, 1, 2, 3], np.float32).reshape(10, 1, 1, 1)
    still = analysis.Orbit("still", np.zeros(1, np.float32), np.zeros((), np.float32), lambda x, t: x + t, "", ())
    assert analysis.goodfellow_invariance(itself, values, still, firing_rate=0.3).global_rate.item() == 0.3
    # Beyond the three positive ones, the seven zeros come in together; the lower sign then has the lower rate.
    above = analysis.goodfellow_invariance(itself, values, still, firing_rate=0.4)
    assert (above.sign.item(), above.global_rate.item()) == (-1, 0.7)


def test_neighbouring_numbers_are_kept_apart():
    low = np.float32(1)
    high = np.nextafter(low, np.float32(2))
    for values in ([low, high], [np.nextafter(high, np.float32(2)), high]):
        pixels = np.array(values, np.float32).reshape(2, 1, 1, 1)
        still = analysis.Orbit("still", np.zeros(1, np.float32), np.zeros((), np.float32), lambda x, t: x + t, "", ())
        found = analysis.goodfellow_invariance(itself, pixels, still, firing_rate=0.5)
        assert (found.global_rate.item(), found.score.item()) == (0.5, 2)


def test_the_network_score_is_the_mean_of_the_best_units():
    ones = np.ones((2, 5))
    rates = np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, 0.9, 1.0]])
    found = analysis.GoodfellowInvariance(ones.astype(int), ones, ones / 2, rates)
    assert found.network_score() == pytest.approx(2 * 0.95)
    assert found.network_score(top=0.3) == pytest.approx(2 * 0.9)
    assert found.network_score(top=1) == pytest.approx(2 * 0.55)
    assert found.network_score(top=0.01) == pytest.approx(2)
    for top in (0, 1.1):
        with pytest.raises(InputError, match=f"top={top}"):
            found.network_score(top=top)


@functools.cache
def of_framework(make):
    return analysis.goodfellow_invariance(make(), IMAGES, SHIFTS, firing_rate=0.1)


@other_frameworks
def test_every_framework_gives_the_same(make):
    found, expected = of_framework(make), of_framework(MAKERS["plain"])
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.score.shape == b.score.shape
        # Sums in another order may move a value across the threshold.
        assert np.isclose(a.score, b.score).mean() > 0.98


@pytest.mark.parametrize("firing_rate", [0.0, 1.0, -0.1])
def test_a_firing_rate_must_be_a_share(firing_rate):
    with pytest.raises(InputError, match=f"firing_rate={firing_rate}"):
        analysis.goodfellow_invariance(itself, IMAGES, SHIFTS, firing_rate=firing_rate)
