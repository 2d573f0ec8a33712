"""Bootstrap intervals against closed forms, another library, and the coverage that they promise."""

import math

import numpy as np
import pytest
from scipy import stats

from cnnjax import InputError
from cnnjax.study import Interval, over_images, over_seeds


def normal_interval(values):
    half = stats.norm.ppf(0.975) * values.std(ddof=1) / math.sqrt(len(values))
    return values.mean() - half, values.mean() + half


def coverage(n, studies=1500):
    random = np.random.default_rng(n)
    hits = 0
    for _ in range(studies):
        interval = over_seeds(random.normal(size=n), resamples=2000)
        hits += interval.low <= 0 <= interval.high
    return hits / studies


def test_many_values_give_the_normal_interval():
    values = np.random.default_rng(1).exponential(size=3000)
    interval = over_seeds(values)
    low, high = normal_interval(values)
    assert interval.mean == pytest.approx(values.mean(), rel=1e-12)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.05 * (high - low))
    assert (interval.n, interval.over, interval.level) == (3000, "seeds", 0.95)


def test_agrees_with_scipy_where_the_corrections_are_small():
    values = np.random.default_rng(2).gamma(2.0, size=400)
    reference = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(3))
    low, high = reference.confidence_interval
    interval = over_seeds(values)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.05 * (high - low))


# The documented coverage, to three standard errors of this simulation; the bare percentile covers 0.84 at n = 5.
@pytest.mark.parametrize(("n", "documented"), [(5, 0.93), (20, 0.947)])
def test_coverage_is_what_is_documented(n, documented):
    assert coverage(n) == pytest.approx(documented, abs=0.02)


def test_few_seeds_come_close_to_student():
    values = np.random.default_rng(4).normal(size=10)
    low, high = stats.t.interval(0.95, 9, values.mean(), values.std(ddof=1) / math.sqrt(10))
    interval = over_seeds(values)
    assert interval.high - interval.low == pytest.approx(high - low, rel=0.15)


def test_the_order_of_the_seeds_does_not_matter():
    values = np.random.default_rng(5).normal(size=7)
    assert over_seeds(values) == over_seeds(values[::-1]) == over_seeds(list(values))


def test_shifting_and_scaling_carry_over():
    values = np.random.default_rng(6).normal(size=6)
    plain, other = over_seeds(values), over_seeds(3 * values + 10)
    assert (other.mean, other.low, other.high) == pytest.approx([3 * x + 10 for x in plain[:3]], rel=1e-12)


def test_a_higher_level_is_a_wider_interval():
    values = np.random.default_rng(7).normal(size=20)
    widths = [i.high - i.low for i in (over_seeds(values, level=level) for level in (0.5, 0.9, 0.99))]
    assert widths == sorted(widths)
    assert len(set(widths)) == 3


def test_one_seed_has_no_interval():
    mean, low, high, n, *_ = over_seeds([0.7])
    assert (mean, n) == (0.7, 1)
    assert math.isnan(low)
    assert math.isnan(high)


def test_two_seeds_reach_as_far_as_resamples_do_times_the_square_root_of_two():
    # Student's t with one degree of freedom asks for the outermost resample, which is one of the two values.
    mean, low, high, *_ = over_seeds([0.0, 1.0])
    assert (mean, low, high) == pytest.approx((0.5, 0.5 - math.sqrt(0.5), 0.5 + math.sqrt(0.5)))


def test_equal_seeds_have_an_interval_of_no_width():
    interval = over_seeds([0.5, 0.5, 0.5])
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.5, 0.5, 0.5))


def test_images_give_the_normal_interval_of_a_mean():
    values = np.random.default_rng(8).normal(size=(1, 4000))
    interval = over_images({"x": values}, lambda means: means["x"], resamples=4000)
    low, high = normal_interval(values[0])
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.06 * (high - low))
    assert (interval.n, interval.over) == (4000, "images")


def test_the_same_images_are_drawn_for_every_column_and_seed():
    values = np.random.default_rng(9).normal(size=(3, 200))
    difference = over_images({"a": values, "b": values + 1}, lambda means: means["b"] - means["a"])
    assert (difference.low, difference.high) == pytest.approx((1, 1))
    one = over_images({"a": values[:1]}, lambda means: means["a"])
    thrice = over_images({"a": np.repeat(values[:1], 3, axis=0)}, lambda means: means["a"])
    assert thrice[:3] == pytest.approx(one[:3], rel=1e-12)


def test_a_score_of_means_agrees_with_a_bootstrap_written_out():
    random = np.random.default_rng(10)
    right = (random.random((2, 300)) < [[0.8], [0.7]]).astype(float)
    agree = np.maximum(right, random.random((2, 300)) < 0.5)

    def adjusted(means):
        floor = np.maximum(0, 2 * means["right"] - 1)
        return (means["agree"] - floor) / (1 - floor)

    def by_hand(index):
        scores = []
        for seed in range(2):
            accuracy, consistency = right[seed][index].mean(), agree[seed][index].mean()
            floor = max(0.0, 2 * accuracy - 1)
            scores.append((consistency - floor) / (1 - floor))
        return sum(scores) / 2

    interval = over_images({"right": right, "agree": agree}, adjusted)
    draws = [by_hand(random.integers(0, 300, 300)) for _ in range(2000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    assert interval.mean == pytest.approx(by_hand(np.arange(300)), rel=1e-12)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_more_draws_than_fit_at_once_are_as_good_and_repeat():
    values = np.random.default_rng(11).normal(size=(1, 5000))
    first, second = (over_images({"x": values}, lambda means: means["x"]) for _ in range(2))
    assert first == second
    low, high = normal_interval(values[0])
    assert (first.low, first.high) == pytest.approx((low, high), abs=0.08 * (high - low))


def test_one_image_has_no_interval():
    interval = over_images({"x": [[1.0], [0.0]]}, lambda means: means["x"])
    assert interval.mean == 0.5
    assert math.isnan(interval.low)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: over_seeds([]), r"shape \(0,\); it must be \(seeds\)"),
        (lambda: over_seeds([[1.0, 2.0]]), r"shape \(1, 2\)"),
        (lambda: over_seeds([1.0, math.nan]), "nan at seed 1"),
        (lambda: over_seeds([1.0, 2.0], level=1.5), "level of an interval is 1.5"),
        (lambda: over_images({}, lambda means: means), "at least one"),
        (lambda: over_images({"a": np.ones((2, 3)), "b": np.ones((2, 4))}, lambda m: m["a"]), r"\(2, 3\), \(2, 4\)"),
        (lambda: over_images({"right": [[1.0, math.inf]]}, lambda m: m["right"]), "right is inf at seed 0, image 1"),
    ],
)
def test_refusals_name_the_value(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_an_interval_unpacks():
    assert Interval(0.5, 0.4, 0.6, 5)[:4] == (0.5, 0.4, 0.6, 5)
