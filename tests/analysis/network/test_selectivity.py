"""Class selectivity by hand, its ends, and its chance level."""

import numpy as np
import pytest

from cnnjax import InputError, analysis


def test_by_hand():
    # Class means of the units: (3, 1, 2), (0, 0, 4), (1, 1, 1), (0, 0, 0).
    labels = np.array([7, 9, 8, 7])
    activations = np.array([[2.0, 0, 1, 0], [2, 4, 1, 0], [1, 0, 1, 0], [4, 0, 1, 0]])
    found = analysis.class_selectivity(activations, labels)
    index, preferred = found.index, found.preferred
    np.testing.assert_allclose(index, [(3 - 1.5) / (3 + 1.5), 1, 0, np.nan])
    assert list(preferred[:2]) == [7, 9]


def test_maps_count_with_their_mean_and_scale_does_not():
    random = np.random.default_rng(0)
    maps, labels = random.random((60, 3, 5, 4)), np.arange(60) % 6
    found = analysis.class_selectivity(maps, labels)
    index, preferred = found.index, found.preferred
    for unit in range(4):
        means = np.array([maps[labels == k, ..., unit].mean() for k in range(6)])
        others = np.delete(means, means.argmax()).mean()
        assert index[unit] == pytest.approx((means.max() - others) / (means.max() + others))
        assert preferred[unit] == means.argmax()
    np.testing.assert_allclose(analysis.class_selectivity(17 * maps, labels).index, index)


@pytest.mark.parametrize(
    ("activations", "labels", "message"),
    [
        (np.ones(4), np.arange(4), "shape \\(4,\\) and labels of shape \\(4,\\)"),
        (np.ones((4, 2)), np.arange(3), "and labels of shape \\(3,\\): expected"),
        (-np.ones((4, 2)), np.arange(4), "negative or not finite"),
        (np.full((4, 2), np.nan), np.arange(4), "negative or not finite"),
        (np.ones((4, 2)), np.zeros(4, int), "of 1 class: selectivity compares classes"),
    ],
)
def test_bad_input(activations, labels, message):
    with pytest.raises(InputError, match=message):
        analysis.class_selectivity(activations, labels)
