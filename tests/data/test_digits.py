"""The embedded digits against scikit-learn's own arrays."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cnnjax import InputError
from cnnjax.data import DataConfig, load
from cnnjax.data.sources.digits import enlarge


@pytest.fixture(scope="module")
def digits():
    return load(DataConfig(), max_shift=6)


def test_shapes_types_and_margin(digits):
    assert digits.train.images.shape == (1501, 32, 32, 1)
    assert digits.test.images.shape == (296, 32, 32, 1)
    assert digits.train.images.dtype == np.uint8
    assert digits.train.labels.dtype == np.int32
    assert digits.train.scenes is None
    assert digits.margin == 6
    assert digits.class_names == tuple("0123456789")
    inside = np.zeros((32, 32), bool)
    inside[6:26, 6:26] = True
    assert digits.train.images[:, ~inside].max() == 0
    assert "every 6th image" in digits.note


def test_the_two_splits_are_every_stored_digit_once(digits):
    stored = load_digits()
    canvas = enlarge(stored.images, 20)
    ours = np.concatenate([digits.train.images, digits.test.images])[:, 6:26, 6:26]
    labels = np.concatenate([digits.train.labels, digits.test.labels])
    assert pairs(ours, labels) == pairs(canvas, stored.target)


def pairs(images, labels):
    return sorted((int(label), image.tobytes()) for image, label in zip(images, labels, strict=True))


def test_no_image_occurs_twice(digits):
    # Neither in the source (1,797 different rows) nor after enlarging, so no test image is trained on.
    assert len(np.unique(load_digits().data, axis=0)) == 1797
    images = np.concatenate([digits.train.images, digits.test.images]).reshape(1797, -1)
    assert len(np.unique(images, axis=0)) == 1797


def test_every_class_is_in_both_splits_alike(digits):
    counts = np.bincount(digits.test.labels)
    assert counts.min() >= 29
    assert counts.max() <= 30


def test_enlarging_keeps_the_picture():
    stored = load_digits().images[:50]
    enlarged = enlarge(stored, 30)[..., 0].astype(float)
    # Averaged back over 3×3 blocks, the smooth enlargement is close to what was stored inside its black border.
    back = enlarged.reshape(50, 10, 3, 10, 3).mean((2, 4))[:, 1:-1, 1:-1] * 16 / 255
    assert np.abs(back - stored).mean() < 0.8
    assert np.corrcoef(back.ravel(), stored.ravel())[0, 1] > 0.99


def test_strokes_fade_out_before_the_frame_ends(digits):
    assert digits.train.images[:, 6].max() < 80
    assert digits.train.images[:, 8].max() > 200


def test_loading_twice_gives_the_same(digits):
    again = load(DataConfig())
    np.testing.assert_array_equal(again.train.images, digits.train.images)
    np.testing.assert_array_equal(again.test.labels, digits.test.labels)


@pytest.mark.parametrize(("module", "install"), [("sklearn.datasets", '"scikit-learn"'), ("PIL.Image", '"pillow"')])
def test_a_missing_package_is_named_with_its_remedy(module, install, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf'"digits" needs the package {module.partition(".")[0]}') as error:
        load(DataConfig())
    assert f"python -m pip install {install}" in str(error.value)
