"""Relative costs, best buddies, and the agreement of 2×2 blocks, against their definitions."""

import jax.numpy as jnp
import numpy as np

from cnnjax import jigsaw


def random_fits(n=6, seed=0):
    random = np.random.default_rng(seed)
    right, down = random.random((2, n, n)).astype(np.float32) + 0.1
    for table in (right, down):
        np.fill_diagonal(table, np.inf)
    return jigsaw.Fits(right, down, n)


def test_relative_costs_are_ratios_to_the_best_alternative():
    table = random_fits()
    found = jigsaw.relative(table).right
    n = table.pieces
    little = 1e-3 * np.median(table.right.min(axis=1))
    for i in range(n):
        for j in set(range(n)) - {i}:
            others = [table.right[i, k] for k in range(n) if k != j] + [table.right[k, j] for k in range(n) if k != i]
            np.testing.assert_allclose(found[i, j], (table.right[i, j] + little) / (min(others) + little), rtol=1e-5)


def test_best_buddies_are_mutual_and_all():
    table = random_fits(40)
    buddies = jigsaw.best_buddies(jigsaw.relative(table).right)
    assert 5 < (buddies >= 0).sum() < 40
    for i, j in enumerate(buddies):
        best = int(table.right[i].argmin())
        mutual = int(table.right[:, best].argmin()) == i
        assert j == (best if mutual else -1)


def test_two_that_fit_equally_are_no_buddies():
    cost = np.full((3, 3), 1, np.float32)
    cost[0, 1] = cost[0, 2] = 0
    np.fill_diagonal(cost, np.inf)
    assert (jigsaw.best_buddies(jigsaw.relative(jigsaw.Fits(cost, cost, 3)).right)[0]) == -1


def test_agreement_equals_sums_over_blocks():
    ratio = jigsaw.relative(random_fits(5))
    found = jigsaw.agreed(ratio, rounds=1)
    n = ratio.pieces

    def scaled(x):
        return x / np.sqrt(x.sum(1, keepdims=True) * x.sum(0, keepdims=True))

    R, D = (scaled(np.where(np.isfinite(c), np.exp(-4 * np.minimum(c, 6)), 0)) for c in (ratio.right, ratio.down))
    support = np.zeros((n, n))
    for a in range(n):
        for b in range(n):
            for c in range(n):
                for d in range(n):
                    support[a, b] += D[a, c] * R[c, d] * D[b, d] + D[c, a] * R[c, d] * D[d, b]
    off = ~np.eye(n, dtype=bool)
    np.testing.assert_allclose(found.right[off], -np.log(scaled(R * (0.01 + support))[off]), rtol=1e-4)
    assert np.isinf(found.right[~off]).all()


def test_agreement_lifts_a_neighbour_that_a_block_speaks_for():
    # Four pieces 0 1 / 2 3; 1 fits at the right of 0 no better than 4 does, but 0-2, 2-3 and 1-3 are sure.
    cost = np.full((5, 5), 4, np.float32)
    right, down = cost.copy(), cost.copy()
    right[0, 1] = right[0, 4] = 1
    right[2, 3] = down[0, 2] = down[1, 3] = 0.2
    for table in (right, down):
        np.fill_diagonal(table, np.inf)
    table = jigsaw.Fits(right, down, 5)
    alone, likely = jigsaw.agreed(table, rounds=0).right, jigsaw.agreed(table).right
    assert abs(alone[0, 1] - alone[0, 4]) < 0.01
    assert likely[0, 1] < 0.2 < 4 * likely[0, 1] < likely[0, 4]


def test_turned_pieces_agree_as_upright_ones_do():
    """A puzzle whose turns are known to be none gives the same likelihoods when other turns are made impossible."""
    upright = jigsaw.relative(random_fits(5))
    n = upright.pieces
    right = np.full((4, n, 4, n), np.inf, np.float32)
    # The pair at the right in turn k: both turned back.
    right[0, :, 0], right[1, :, 1] = upright.right, upright.down
    right[2, :, 2], right[3, :, 3] = upright.right.T, upright.down.T
    right = right.reshape(4 * n, 4 * n)
    down = np.roll(right, (-n, -n), axis=(0, 1))
    turned = jigsaw.agreed(jigsaw.Fits(right, down, n))
    plain = jigsaw.agreed(upright)
    np.testing.assert_allclose(turned.right[:n, :n], plain.right, rtol=1e-3)
    np.testing.assert_allclose(turned.down[:n, :n], plain.down, rtol=1e-3)


def test_total_is_the_sum_over_neighbours():
    table = random_fits(6)
    states = np.arange(6).reshape(2, 3)
    expected = sum(table.right[a, b] for a, b in ((0, 1), (1, 2), (3, 4), (4, 5)))
    expected += sum(table.down[a, b] for a, b in ((0, 3), (1, 4), (2, 5)))
    np.testing.assert_allclose(table.total(states), expected, rtol=1e-6)
    assert table.capped(0.5).right.max() == jnp.float32(0.5)


def test_right_best_neighbours_by_hand():
    right, down = (np.full((4, 4), 1, np.float32) for _ in range(2))
    right[0, 1] = right[2, 3] = down[0, 2] = down[1, 3] = 0.5
    right[2, 1] = 0.4  # now 2 prefers 1 to 3, and 1 prefers 2 to 0
    truth = jigsaw.Arrangement(np.array([[0, 1], [2, 3]]), np.zeros((2, 2), int))
    assert jigsaw.right_best_neighbors(jigsaw.Fits(right, down, 4), truth) == 6 / 8
