"""The separation of two halves against SciPy's statistic, and its chance level against every split there is."""

import itertools

import numpy as np
import pytest
from scipy import stats

from cnnjax import InputError
from experiments.alexnet.separation import rank_biserial, separation

FIRST = np.arange(8) < 4


def test_it_is_the_statistic_of_mann_and_whitney():
    random = np.random.default_rng(0)
    for n, first in ((8, FIRST), (7, np.arange(7) < 2)):
        values = random.integers(0, 5, n).astype(float)  # with ties
        statistic = stats.mannwhitneyu(values[first], values[~first]).statistic
        product = first.sum() * (~first).sum()
        assert rank_biserial(values, first) == pytest.approx(2 * statistic / product - 1)


def test_its_ends():
    values = np.arange(8.0)
    assert rank_biserial(values, FIRST) == -1
    assert rank_biserial(-values, FIRST) == 1
    assert rank_biserial(np.ones(8), FIRST) == 0
    with pytest.raises(InputError, match="halves of 1 and 0 filters cannot be compared"):
        rank_biserial(np.ones(1), np.array([True]))


def test_chance_is_the_mean_over_every_split():
    values = np.array([0.1, 0.5, 0.5, 0.9, 0.2, 0.7, 0.3, 0.8])
    every = []
    for chosen in itertools.combinations(range(8), 4):
        half = np.isin(np.arange(8), chosen)
        every.append(abs(rank_biserial(values, half)))
    found = separation([values], [FIRST], splits=20_000)
    error = np.std(every) / np.sqrt(20_000)
    assert found.by_chance.shape == (1, 20_000)
    assert found.by_chance.mean() == pytest.approx(np.mean(every), abs=5 * error)
    # p is the share of splits that are as far apart, or farther.
    share = np.mean(np.array(every) >= found.observed[0] - 1e-12)
    assert found.p == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / 20_000))


def test_networks_that_are_all_apart_are_no_chance_and_those_that_are_not_are():
    apart = [np.r_[np.zeros(6), np.ones(6)] + np.linspace(0, 0.1, 12) for _ in range(3)]
    mixed = [np.tile([0.0, 0.2, 0.9], 4) for _ in range(3)]
    first = [np.arange(12) < 6] * 3
    assert separation(apart, first, splits=999).p == 1 / 1000
    assert separation(mixed, first, splits=999).p == 1
    np.testing.assert_array_equal(separation(apart, first, splits=999).observed, 1)


def test_p_is_uniform_where_halves_mean_nothing():
    random = np.random.default_rng(1)
    p = [separation(list(random.normal(size=(2, 12))), [np.arange(12) < 6] * 2, splits=199).p for _ in range(200)]
    assert abs(np.mean(np.array(p) <= 0.2) - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 200)
    assert abs(np.mean(np.array(p) <= 0.5) - 0.5) < 5 * np.sqrt(0.25 / 200)
