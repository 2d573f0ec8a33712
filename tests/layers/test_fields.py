"""The fields of layers and networks are read when these are made."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import layers, models
from cnnjax.errors import InputError


def test_networks_given_lists_and_numpys_integers_equal_those_given_tuples(without_type_checks):
    given = models.AllConv(num_classes=np.int64(3), widths=[4, 8], depth=[1, 2])
    expected = models.AllConv(num_classes=3, widths=(4, 8), depth=(1, 2))
    assert (given, hash(given)) == (expected, hash(expected))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Conv(-1), "Conv: features=-1 must be at least 1."),
        (lambda: layers.Conv("4"), "Conv: features='4' must be an int."),
        (lambda: layers.Conv(4, dtype="text"), "Conv: dtype='text' must be a floating-point dtype"),
        (lambda: layers.Conv(4, dtype=jnp.int32), "Conv: dtype=the class int32 must be a floating-point dtype"),
        (lambda: layers.ConvBlock(4, activation="relu"), "ConvBlock: activation='relu' must be a function"),
        (lambda: layers.Norm("bach"), "Norm: kind='bach' is unknown; use one of batch, layer, group, none"),
        (lambda: layers.SqueezeExcite(0), "SqueezeExcite: reduction=0 must be at least 1"),
        (lambda: models.resnet20(num_classes="x"), "ResNet: num_classes='x' must be an int."),
        (lambda: models.resnet20(num_classes=2, depth=0), "ResNet: depth=0 must be an int of at least 1 or a list"),
        (lambda: models.MLP(2, widths=()), "MLP: widths=() must have at least one entry"),
        (lambda: models.vit_tiny(2, dropout=float("nan")), "ViT: dropout=nan must be a finite number"),
    ],
)
def test_a_field_that_cannot_be_is_named(make, message, without_type_checks):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("field", ["activation", "kernel_init"])
def test_functions_that_give_no_array_are_named(field):
    model = models.AlexNet(2, kernel_sizes=(3,) * 5, stem_stride=1, **{field: lambda *args: None})
    with pytest.raises(InputError, match=f"{field} gave None; it must give an array"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.ones((1, 16, 16, 1))))
