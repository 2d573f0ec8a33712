"""VGG: the maps of the published table, its dense layers, and other heads."""

import jax
import numpy as np
import pytest
from model_cases import pixels, shapes_of

from cnnjax import InputError, models
from tests.drawn import KEY, drawn_variables

TINY = dict(num_classes=3, widths=(2, 3), depth=(1, 2), dense_widths=(40, 5))


@pytest.mark.parametrize(
    ("make", "depths"),
    [
        (models.vgg11, (1, 1, 2, 2, 2)),
        (models.vgg13, (2, 2, 2, 2, 2)),
        (models.vgg16_bn, (2, 2, 3, 3, 3)),
        (models.vgg19, (2, 2, 4, 4, 4)),
    ],
)
def test_maps_and_layers_are_those_of_the_table(make, depths):
    # Simonyan & Zisserman 2015, table 1: A, B, D and E, whose number is that of the layers with weights.
    _, activations = shapes_of(make(num_classes=1000), 1, 224, 224, 3)
    expected = {}
    for stage, (depth, width) in enumerate(zip(depths, (64, 128, 256, 512, 512), strict=True), 1):
        for layer in range(1, depth + 1):
            side = 224 >> (stage if layer == depth else stage - 1)
            expected[f"stage{stage}_conv{layer}"] = (1, side, side, width)
    expected |= {"fc6": (1, 4096), "fc7": (1, 4096), "logits": (1, 1000)}
    assert list(activations.items()) == list(expected.items())


def test_units_of_the_dense_layers_drop_in_training_alone():
    model, images = models.VGG(**TINY), pixels(2, 8, 8, 3)
    variables = drawn_variables(model, images)
    run = jax.jit(model.apply, static_argnames="train")
    kept = run(variables, images)[1]["fc6"]
    dropped = run(variables, images, train=True, rngs={"dropout": KEY})[1]["fc6"]
    positive = np.asarray(kept) > 0
    assert positive.sum() > 20
    survived = np.asarray(dropped)[positive] > 0
    assert 0 < survived.sum() < survived.size
    np.testing.assert_allclose(dropped[positive][survived], 2 * kept[positive][survived], rtol=1e-6)


def test_images_of_another_size_are_refused_by_the_dense_head_alone():
    model = models.VGG(**TINY)
    variables = drawn_variables(model, pixels(1, 8, 8, 3))
    with pytest.raises(InputError, match=r"layer fc6: it was initialised on 12 values .* gets a map of 3×3×3"):
        model.apply(variables, pixels(1, 12, 12, 3))
    model = models.VGG(head="average", **TINY)
    variables = drawn_variables(model, pixels(1, 8, 8, 3))
    assert set(variables["params"]) == {"stage1_conv1", "stage2_conv1", "stage2_conv2", "logits"}
    assert model.apply(variables, pixels(1, 12, 12, 3))[0].shape == (1, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(dense_widths=(4,)), r"VGG: dense_widths=\(4,\) must be two positive integers"),
        (dict(dropout=1), r"VGG: dropout=1 must lie in \[0, 1\)"),
        (dict(group="p4"), "head='dense' weighs places"),
        (dict(depth=(1, 2, 3)), r"VGG: depth=\(1, 2, 3\) must have a number for each of the 2 stages"),
    ],
)
def test_fields_that_cannot_be(fields, message):
    with pytest.raises(InputError, match=message):
        shapes_of(models.VGG(**{**TINY, **fields}), 1, 8, 8, 3)
