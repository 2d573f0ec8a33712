"""Numbers that make no sense are refused in one line, before long work; those at the edge are taken."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, analysis

pytestmark = pytest.mark.usefixtures("without_type_checks")

IMAGES = np.random.default_rng(0).uniform(size=(3, 6, 6, 1)).astype(np.float32)
ORBIT = analysis.shifts(1)


def classify(x):
    return jnp.stack([x.mean((1, 2, 3)), x.max((1, 2, 3)), x.min((1, 2, 3))], 1)


def maps(x):
    return {"maps": x * 2, "logits": classify(x)}


def covered(size=2, corners=((0, 0),) * 3, background=0.0):
    return analysis.cover(jnp.asarray(IMAGES), jnp.asarray(corners), size=size, background=jnp.asarray(background))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *((lambda size=size: covered(size), f"size={size}") for size in (-1, 0, 1.5, float("nan"))),
        (lambda: covered(corners=((0, 0),)), r"corners \(1, 2\)"),
        (lambda: covered(background=(0.0, 1.0)), r"background \(2,\)"),
        (lambda: analysis.top_activations(maps, IMAGES, "maps", k=1.5, rule=None), "k=1.5 must be an int"),
        (lambda: analysis.top_activations(maps, IMAGES, "maps", k=0, rule=None), "k=0"),
        (lambda: analysis.top_activations(maps, IMAGES, "maps", k=1, rule=None, batch_size=0), "batch_size=0"),
        (lambda: analysis.influence(maps, IMAGES, "maps", (1.5, 1)), r"unit=\(1.5, 1\).*whole"),
        (lambda: analysis.receptive_field(classify, IMAGES).span(0.5), r"position=0.5.*whole"),
        (lambda: analysis.saliency(maps, IMAGES, value_range=(1, 0)), r"value_range=\(1, 0\)"),
        (lambda: analysis.saliency(maps, IMAGES, value_range=(0, float("nan"))), r"value_range\[1\]=nan"),
        (lambda: analysis.Shift(("1", "2")), "offset="),
        (lambda: analysis.equivariance_error(maps, IMAGES, analysis.Shift((float("nan"), 0))), "offset="),
        (lambda: analysis.equivariance_error(maps, IMAGES, analysis.Rotation("90")), "degrees=90"),
        (lambda: analysis.equivariance_error(maps, IMAGES, analysis.Scale(float("nan"))), "factor=nan"),
        (lambda: analysis.cka(np.full((5, 2), np.nan), IMAGES), "NaN or infinity"),
        (lambda: analysis.cka(3.0, 3.0), r"shape \(\)"),
        (lambda: analysis.class_selectivity(IMAGES, np.array([0, 1, np.nan])), "labels are float64"),
        (lambda: analysis.subpixel_shifts(2.5), "parts=2.5"),
        (lambda: analysis.rotations(float("nan")), "step=nan"),
    ],
)
def test_it_is_refused(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, -1], "label -1 is not a class: give numbers from 0 and below the 3 classes"),
        ([0, 1, 3], "label 3 is not a class"),
        ([0.0, 1.0, np.nan], "labels are float64"),
        ([0.0, 1.0, 2.0], "labels are float64"),
        ([0, 1], r"labels have shape \(2,\) for 3 images"),
        (["a", "b", "c"], "labels=.*give an array of numbers"),
    ],
)
def test_labels_that_are_no_classes_are_refused_before_images_are_classified(labels, message):
    traced = []

    def counted(x):
        traced.append(x)
        return classify(x)

    with pytest.raises(InputError, match=message):
        analysis.consistency(counted, IMAGES, ORBIT, labels=np.asarray(labels))
    assert len(traced) <= 1  # what a trace costs; text is refused before that
    predictions = analysis.predict(classify, IMAGES, ORBIT)
    if max(labels) != 3:
        with pytest.raises(InputError, match=message.partition(" and below")[0]):
            analysis.image_columns(predictions, np.asarray(labels), ORBIT)
        with pytest.raises(InputError, match="among is bool"):
            analysis.image_columns(predictions, np.arange(3), ORBIT, among=np.zeros(8, bool))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: analysis.shifts(1000),
            r"max_shift=1000 makes 4,004,000 transforms, more than 10,000.*at most 49 pixels",
        ),
        (lambda: analysis.shifts(50, fill="crop"), "10,200 transforms"),
        (lambda: analysis.subpixel_shifts(101), "parts=101 makes 10,200 transforms.*at most 100 parts"),
        (lambda: analysis.rotations(0.01), "step 0.01 makes more than 10,000 transforms"),
        (lambda: analysis.rotations(1e-320), "more than 10,000 transforms"),
        (lambda: analysis.translation_sensitivity_map(classify, IMAGES, max_shift=10**9), "transforms"),
        (
            lambda: analysis.shift_terms(lambda x: x, np.zeros((1, 101, 103, 1), np.float32), analysis.Shift((1, 1))),
            "10,403 steps.*shift along one axis",
        ),
    ],
)
def test_families_of_more_transforms_than_anybody_waits_for(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_largest_families_that_are_taken():
    assert len(analysis.shifts(49).parameters) == 9800
    assert len(analysis.shifts(np.int64(2)).parameters) == 24
    assert len(analysis.subpixel_shifts(100).parameters) == 9999
    assert len(analysis.rotations(0.036).parameters) == 9999
