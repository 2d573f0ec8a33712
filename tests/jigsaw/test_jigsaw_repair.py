"""Repairs of an arrangement, against brute force on puzzles of a few pieces."""

import itertools

import numpy as np
import pytest

from cnnjax.jigsaw import Fits
from cnnjax.jigsaw.infer import infer
from cnnjax.jigsaw.polish import polish, swap_two
from cnnjax.jigsaw.regrow import regrow
from cnnjax.jigsaw.segments import loosened, segments
from cnnjax.jigsaw.tree import candidates


def random_fits(n, turns, seed):
    """Finite costs, under which a turned pair costs what it does upright."""
    random = np.random.default_rng(seed)
    right, down = random.random((2, turns * n, turns * n))
    if turns == 4:
        for a, b in itertools.product(range(4 * n), repeat=2):
            right[(b + 2 * n) % (4 * n), (a + 2 * n) % (4 * n)] = right[a, b]
        down = np.roll(right, (-n, -n), axis=(0, 1))
    return Fits(right.astype(np.float32), down.astype(np.float32), n)


def planted(rows, columns, turns=1, seed=0):
    """Costs under which the reading order, upright, is by far the best."""
    n = rows * columns
    random = np.random.default_rng(seed)
    right, down = random.uniform(2, 3, (2, turns * n, turns * n)).astype(np.float32)
    truth = np.arange(n).reshape(rows, columns)
    right[truth[:, :-1], truth[:, 1:]] = down[truth[:-1], truth[1:]] = 0.1
    return truth, Fits(right, down, n)


def all_swaps(states, cost):
    n = cost.pieces
    for one, other in itertools.combinations(range(states.size), 2):
        for p, q in itertools.product(range(cost.turns), repeat=2):
            swapped = states.copy()
            swapped.flat[one], swapped.flat[other] = states.flat[other] % n + p * n, states.flat[one] % n + q * n
            yield swapped


@pytest.mark.parametrize("turns", [1, 4])
@pytest.mark.parametrize("grid", [(2, 3), (3, 2), (1, 5), (5, 1), (2, 2)])
def test_a_swap_is_the_best_of_all(grid, turns):
    n = grid[0] * grid[1]
    gained = 0
    for seed in range(6):
        cost, random = random_fits(n, turns, seed), np.random.default_rng(seed)
        states = (random.permutation(n) + n * random.integers(0, turns, n)).reshape(grid)
        found = swap_two(states, cost)
        best = min(cost.total(states), min(map(cost.total, all_swaps(states, cost))))
        np.testing.assert_allclose(cost.total(found), best, rtol=1e-5)
        assert sorted(found.ravel() % n) == list(range(n))
        gained += cost.total(found) < cost.total(states)
    assert gained


@pytest.mark.parametrize("turns", [1, 4])
def test_polish_ends_where_no_swap_gains(turns):
    for seed in range(4):
        cost, random = random_fits(6, turns, seed), np.random.default_rng(seed)
        states = (random.permutation(6) + 6 * random.integers(0, turns, 6)).reshape(2, 3)
        found = polish(states, cost)
        assert cost.total(found) <= cost.total(states)
        assert cost.total(found) <= min(map(cost.total, all_swaps(found, cost))) + 1e-4


def test_one_swap_away_is_repaired():
    cost = random_fits(6, 1, seed=3)
    everything = [np.array(order).reshape(2, 3) for order in itertools.permutations(range(6))]
    best = min(everything, key=cost.total)
    for states in all_swaps(best, cost):
        np.testing.assert_allclose(cost.total(swap_two(states, cost)), cost.total(best), rtol=1e-5)


def test_two_neighbours_exchanged_are_repaired():
    truth, cost = planted(4, 5)
    for one, other in (((1, 2), (2, 2)), ((0, 0), (0, 1)), ((3, 3), (3, 4))):
        states = truth.copy()
        states[one], states[other] = truth[other], truth[one]
        np.testing.assert_array_equal(polish(states, cost), truth)


@pytest.mark.parametrize("turns", [1, 4])
def test_loose_pieces_are_inferred(turns):
    truth, cost = planted(4, 5, turns)
    random = np.random.default_rng(1)
    loose = np.zeros((4, 5), bool)
    loose[1:3, 1:4] = loose[3, 4] = True
    states = truth.copy()
    states[loose] = random.permutation(truth[loose]) + 20 * random.integers(0, turns, loose.sum())
    np.testing.assert_array_equal(infer(states, loose, cost), truth)


def test_inference_takes_each_piece_once_and_leaves_the_rest():
    cost, random = random_fits(30, 4, seed=0), np.random.default_rng(0)
    states = (random.permutation(30) + 30 * random.integers(0, 4, 30)).reshape(5, 6)
    loose = random.random((5, 6)) < 0.6
    found = infer(states, loose, cost)
    np.testing.assert_array_equal(found[~loose], states[~loose])
    assert sorted(found.ravel() % 30) == list(range(30))
    np.testing.assert_array_equal(infer(states, np.zeros((5, 6), bool), cost), states)


@pytest.mark.parametrize("seed", range(3))
def test_inference_of_a_row_is_the_best_of_all_orders(seed):
    # Between two held ends three pieces, one of whose orders is clearly the best, though no step of it need be.
    random = np.random.default_rng(seed)
    best = [0, *random.permutation([1, 2, 3]), 4]
    right = random.uniform(1, 3, (5, 5)).astype(np.float32)
    right[best[:-1], best[1:]] -= 1
    cost = Fits(8 * right, 8 * right.T, 5)
    orders = [np.array([[0, *order, 4]]) for order in itertools.permutations((1, 2, 3))]
    expected = min(orders, key=cost.total)
    found = infer(np.arange(5)[None], np.array([[False, True, True, True, False]]), cost)
    np.testing.assert_array_equal(found, expected)


def test_segments_turned_against_each_other_are_regrown():
    n, truth = 20, np.arange(20).reshape(4, 5)
    right = np.random.default_rng(0).uniform(4, 5, (4 * n, 4 * n)).astype(np.float32)
    # Turned by a quarter, a pair one below the other is a pair side by side, so one table says all.
    pairs = [(a, b, 0) for a, b in zip(truth[:, :-1].ravel(), truth[:, 1:].ravel(), strict=True)]
    pairs += [(a, b, n) for a, b in zip(truth[:-1].ravel(), truth[1:].ravel(), strict=True)]
    for a, b, turned in pairs:
        one, other = a + turned, b + turned
        right[one, other] = right[(other + 2 * n) % (4 * n), (one + 2 * n) % (4 * n)] = 0
    below = np.roll(right, (-n, -n), axis=(0, 1))
    cost = Fits(right, below, n)
    assert cost.total(truth) == 0
    states = truth.copy()
    states[2:] = truth[2:][::-1, ::-1] + 2 * n  # the lower half upside down
    segment = np.repeat([0, 0, 1, 1], 5).reshape(4, 5)
    found = regrow(states, segment, candidates(cost), cost, random=np.random.default_rng(0))
    assert cost.total(found) == 0
    assert sorted(found.ravel() % n) == list(range(n))


def test_segments_by_hand():
    truth, cost = planted(3, 4)
    states = truth.copy()
    states[2] = truth[2, ::-1]
    labels = segments(states, cost, below=1.0, dropped=0.0, random=np.random.default_rng(0))
    assert len(np.unique(labels[:2])) == 1
    assert len(np.unique(labels)) == 1 + 4
    apart = segments(truth, cost, below=1.0, dropped=1.0, random=np.random.default_rng(0))
    assert len(np.unique(apart)) == 12


def test_what_is_loosened_by_hand():
    labels = np.array([[0, 0, 0, 1], [0, 0, 2, 1], [3, 4, 5, 6]])
    random = np.random.default_rng(0)
    small = np.array([[0, 0, 0, 0], [0, 0, 1, 0], [1, 1, 1, 1]], bool)
    np.testing.assert_array_equal(loosened(labels, kept=1.0, most=99, random=random), small)
    np.testing.assert_array_equal(loosened(labels, kept=0.0, most=99, random=random), labels > 0)
    few = loosened(labels, kept=0.0, most=3, random=random)
    assert few.sum() == 3
    assert not few[labels == 0].any()
