"""Puzzles solved: cutting, mixing, the answer and its score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import jigsaw
from cnnjax.errors import InputError
from tests.repeats import repeated

KEY = jax.random.key(0)
SIDE = 8


def smooth_image(height=5 * SIDE + 3, width=6 * SIDE + 5):
    """Waves that repeat nowhere: every piece has its own colours."""
    y, x = np.mgrid[:height, :width] / 10
    channels = [np.sin(x + 0.3 * y), np.cos(0.7 * x - y), np.sin(0.05 * x * y + 0.4 * x)]
    return jnp.asarray(0.5 + 0.4 * np.stack(channels, axis=-1), jnp.float32)


def puzzle(rotate, seed=0):
    cut = jigsaw.cut(smooth_image(), side=SIDE)
    mixed = jigsaw.shuffle(jax.random.key(seed), cut.pieces, rotate=rotate)
    return cut, mixed, jigsaw.true_arrangement(mixed, cut.grid)


@pytest.fixture(scope="module", params=[False, True], ids=["type 1", "type 2"])
def solved(request):
    cut, mixed, truth = puzzle(request.param)
    return cut, mixed, truth, jigsaw.solve(mixed.pieces, cut.grid, key=KEY, rotate=request.param, patience=2)


def test_cut_crops_and_says_so():
    image = smooth_image()
    cut = jigsaw.cut(image, side=SIDE)
    assert (cut.grid, cut.cropped) == ((5, 6), (3, 5))
    np.testing.assert_array_equal(cut.pieces[7], image[SIDE : 2 * SIDE, SIDE : 2 * SIDE])


@pytest.mark.parametrize("rotate", [False, True])
def test_the_true_arrangement_restores_the_image(rotate):
    _, mixed, truth = puzzle(rotate)
    np.testing.assert_array_equal(jigsaw.render(mixed.pieces, truth), smooth_image()[: 5 * SIDE, : 6 * SIDE])
    assert set(np.unique(mixed.turns)) == (set(range(4)) if rotate else {0})
    assert sorted(np.asarray(mixed.cells)) == list(range(30))
    again = jigsaw.shuffle(jax.random.key(0), jigsaw.cut(smooth_image(), side=SIDE).pieces, rotate=rotate)
    np.testing.assert_array_equal(mixed.pieces, again.pieces)


def test_an_easy_puzzle_is_solved_without_an_error(solved):
    _, mixed, truth, solution = solved
    score = jigsaw.score(solution.arrangement, truth)
    assert score == (1, 1)
    assert score.perfect
    shown, right = jigsaw.right_cells(solution.arrangement, truth)
    assert right.all()
    np.testing.assert_array_equal(jigsaw.render(mixed.pieces, shown), smooth_image()[: 5 * SIDE, : 6 * SIDE])


def test_the_answer_uses_every_piece_once(solved):
    assert sorted(solved[3].arrangement.pieces.ravel()) == list(range(30))


def test_the_objective_of_the_truth_is_known(solved):
    *_, truth, solution = solved
    np.testing.assert_allclose(solution.objective_of(truth), solution.objective, rtol=1e-6)
    worse = jigsaw.Arrangement(truth.pieces[::-1], truth.turns[::-1])
    assert solution.objective_of(worse) > solution.objective + 10


def test_diagnosis_of_an_easy_puzzle(solved):
    diagnosis = solved[3].diagnosis
    assert diagnosis.structure
    assert diagnosis.twins == 0
    assert diagnosis.loops >= 10
    assert diagnosis.best_buddies > 0.5


@pytest.mark.parametrize("rotate", repeated([True, False]))
def test_relabelled_pieces_give_the_relabelled_answer(rotate):
    # Noise: what is found is far from the truth, and would be another for any dependence on the numbers.
    pieces = jax.random.uniform(jax.random.key(5), (30, SIDE, SIDE, 3))
    order = np.random.default_rng(1).permutation(30)
    first = jigsaw.solve(pieces, (5, 6), key=KEY, rotate=rotate, patience=2)
    second = jigsaw.solve(pieces[order], (5, 6), key=KEY, rotate=rotate, patience=2)
    np.testing.assert_array_equal(order[second.arrangement.pieces], first.arrangement.pieces)
    np.testing.assert_array_equal(second.arrangement.turns, first.arrangement.turns)
    assert second.objective == first.objective
    assert sorted(first.arrangement.pieces.ravel()) == list(range(30))


def test_noise_shows_no_structure():
    pieces = jigsaw.cut(jax.random.uniform(KEY, (40, 48, 3)), side=SIDE).pieces
    diagnosis = jigsaw.solve(pieces, (5, 6), key=KEY, patience=1).diagnosis
    assert not diagnosis.structure
    assert diagnosis.twins == 0


def test_a_flat_image_is_flagged():
    pieces = jigsaw.cut(jnp.full((40, 48, 3), 0.5), side=SIDE).pieces
    solution = jigsaw.solve(pieces, (5, 6), key=KEY, patience=1)
    assert solution.diagnosis == (30, 0, 0, False)
    assert sorted(solution.arrangement.pieces.ravel()) == list(range(30))


def test_twins_have_equal_frames():
    pieces = np.array(jigsaw.cut(smooth_image(), side=SIDE).pieces)
    pieces[4] = np.rot90(pieces[9])
    pieces[4, 3, 3] = 0  # inside: no border shows it
    labels = jigsaw.frames(jnp.asarray(pieces))
    assert labels[9, 1] == labels[4, 0]
    assert labels[9, 0] == labels[4, 3]
    assert len(np.unique(labels)) == 4 * 29
    upright = jigsaw.relative(jigsaw.fits(jnp.asarray(pieces), jigsaw.color_jump))
    turned = jigsaw.relative(jigsaw.fits(jnp.asarray(pieces), jigsaw.color_jump, rotate=True))
    assert jigsaw.diagnose(jnp.asarray(pieces), upright, (5, 6)).twins == 0
    assert jigsaw.diagnose(jnp.asarray(pieces), turned, (5, 6)).twins == 2


def upright(rows):
    pieces = np.array(rows)
    return jigsaw.Arrangement(pieces, np.zeros_like(pieces))


def test_scores_by_hand():
    truth = upright([[0, 1, 2], [3, 4, 5]])
    shifted = upright([[1, 2, 0], [4, 5, 3]])
    assert jigsaw.score(truth, truth) == (1, 1)
    assert jigsaw.score(shifted, truth) == (0, 5 / 7)  # lost: 0-1 and 3-4
    swapped = upright([[0, 1, 5], [3, 4, 2]])
    assert jigsaw.score(swapped, truth) == pytest.approx((4 / 6, 4 / 7))
    labels = np.arange(24).reshape(6, 4)
    labels[5] = labels[2]
    assert jigsaw.score(swapped, truth, labels=labels) == (1, 1)


def test_the_turn_of_the_whole_does_not_count_in_type_2():
    truth = jigsaw.Arrangement(np.array([[0, 1, 2], [3, 4, 5]]), np.array([[0, 1, 2], [3, 0, 1]]))
    assert jigsaw.score(truth.turned(2), truth) == (1, 1)
    square = jigsaw.Arrangement(np.array([[0, 1], [2, 3]]), np.array([[0, 1], [2, 3]]))
    assert jigsaw.score(square.turned(1), square) == (1, 1)
    one_turned = jigsaw.Arrangement(square.pieces, np.array([[1, 1], [2, 3]]))
    assert jigsaw.score(one_turned, square) == (3 / 4, 2 / 4)


@pytest.mark.parametrize(
    ("shape", "side", "message"),
    [
        ((40, 40, 3), 3, "pieces of 3 pixels are too small"),
        ((40, 50, 3), 30, "hold 1 pieces of 30×30, and a puzzle needs four: give a side of 20 or less"),
        ((7, 7, 3), 4, "give a larger image"),
    ],
)
def test_pieces_that_make_no_puzzle(shape, side, message):
    with pytest.raises(InputError, match=message):
        jigsaw.cut(jnp.zeros(shape), side=side)


@pytest.mark.parametrize(("grid", "rotate"), [((1, 5), False), ((5, 1), True)])
def test_narrow_puzzles(grid, rotate):
    cut = jigsaw.cut(smooth_image(grid[0] * SIDE, grid[1] * SIDE), side=SIDE)
    mixed = jigsaw.shuffle(KEY, cut.pieces, rotate=rotate)
    solution = jigsaw.solve(mixed.pieces, cut.grid, key=KEY, rotate=rotate, dissimilarity=jigsaw.color_jump, patience=2)
    assert sorted(solution.arrangement.pieces.ravel()) == list(range(grid[0] * grid[1]))
    truth = jigsaw.true_arrangement(mixed, cut.grid)
    assert solution.objective <= solution.objective_of(truth) + 1e-3


def test_copies_of_one_piece_are_twins():
    pieces = jnp.tile(jigsaw.cut(smooth_image(), side=SIDE).pieces[:1], (30, 1, 1, 1))
    solution = jigsaw.solve(pieces, (5, 6), key=KEY, rotate=True, dissimilarity=jigsaw.color_jump, patience=1)
    assert solution.diagnosis.twins == 30
    assert not solution.diagnosis.structure
    assert sorted(solution.arrangement.pieces.ravel()) == list(range(30))


def test_pieces_that_cannot_be_compared():
    good = jnp.zeros((4, 8, 8, 3))
    with pytest.raises(InputError, match=r"pieces of shape \(3, 3, 3\) are no puzzle"):
        jigsaw.solve(good[:, :3, :3], (2, 2), key=KEY)
    with pytest.raises(InputError, match="must be finite"):
        jigsaw.solve(good.at[0, 0, 0, 0].set(jnp.nan), (2, 2), key=KEY)
    with pytest.raises(InputError, match="4 pieces do not fill -2×-2 cells"):
        jigsaw.solve(good, (-2, -2), key=KEY)
    with pytest.raises(InputError, match="patience=-1"):
        jigsaw.solve(good, (2, 2), key=KEY, patience=-1)


def test_arrangements_of_other_sizes_are_not_compared():
    with pytest.raises(InputError, match="of 4 and 6 pieces"):
        jigsaw.score(upright([[0, 1], [2, 3]]), upright([[0, 1, 2], [3, 4, 5]]))


def test_pieces_that_do_not_fill_the_grid():
    with pytest.raises(InputError, match="6 pieces do not fill 2×2 cells"):
        jigsaw.solve(jnp.zeros((6, 8, 8, 3)), (2, 2), key=KEY)
    with pytest.raises(InputError, match="9000 pieces are too many"):
        jigsaw.fits(jnp.zeros((9000, 4, 4, 3)), jigsaw.color_jump)
    with pytest.raises(InputError, match="2100 pieces, which may each be turned, are too many"):
        jigsaw.fits(jnp.zeros((2100, 4, 4, 3)), jigsaw.color_jump, rotate=True)


@pytest.mark.parametrize(
    ("dissimilarity", "message"),
    [
        (lambda right, left: None, "what dissimilarity returns=None is None"),
        (lambda right, left: "text", "what dissimilarity returns='text' is a str"),
        (lambda right, left: jnp.zeros(4), r"for every pair of borders, \(4, 4\); it returned float32\[4\]"),
        (lambda right: right, "must take 2 arguments"),
    ],
)
def test_what_gives_no_cost_for_every_pair_is_no_dissimilarity(dissimilarity, message):
    with pytest.raises(InputError, match=message):
        jigsaw.fits(jnp.zeros((4, 8, 8, 3)), dissimilarity)


def test_every_piece_has_its_own_turn(without_type_checks):
    with pytest.raises(InputError, match=r"turns=int32\[1\] must be one for each of the 4 pieces"):
        jigsaw.turn(jnp.zeros((4, 8, 8, 3)), jnp.array([1]))
