"""The networks of `cnnjax.models` by name, and the images and classes that they were made for."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from cnnjax import models
from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError

CLASSES: dict[str, type[nn.Module]] = {
    "alexnet": models.AlexNet,
    "all_conv": models.AllConv,
    "lenet5": models.LeNet5,
    "mlp": models.MLP,
    "resnet": models.ResNet,
    "vgg": models.VGG,
    "vit": models.ViT,
}
"""The classes of networks; all others set fields of one of them."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Square images and classes."""

    side: int
    channels: int
    classes: int


DIGITS, OBJECTS, IMAGENET = Setting(28, 1, 10), Setting(32, 3, 10), Setting(224, 3, 1000)

_SMALL = (
    *("mlp", "base_cnn_c", "strided_cnn_c", "conv_pool_cnn_c", "all_cnn_c", "group_all_conv", "alexnet_small"),
    *("plain20", "plain32", "plain44", "plain56"),
    *("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "group_resnet", "vit_tiny"),
)
_LARGE = (
    *("alexnet", "alexnet_one_tower", "plain18", "plain34"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnet18_lpf4", "resnet34_lpf4", "resnet50_lpf4", "resnet101_lpf4"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
    *("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
)
CATALOGUE = {"lenet5": DIGITS, **dict.fromkeys(_SMALL, OBJECTS), **dict.fromkeys(_LARGE, IMAGENET)}
"""Published networks, smaller images first."""

NAMES = (*CLASSES, *(name for name in CATALOGUE if name not in CLASSES))


def maker(name: str) -> Callable[..., nn.Module]:
    """The class or the partial of that name. Raises InputError, with names like it, where there is none."""
    check_choice("network.name", name, NAMES)
    return CLASSES.get(name) or getattr(models, name)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that has the shapes of its parameters, but no parameters."""

    name: str
    model: nn.Module
    images: jax.ShapeDtypeStruct
    variables: PyTree


def find(name: str, *, side: int | None = None) -> Network:
    """A published network by name for one image of its setting, `side` pixels wide if given.

    Raises InputError for an unknown name, and for images that the network cannot take.
    """
    check_choice("model", name, CATALOGUE)
    setting = CATALOGUE[name]
    side = setting.side if side is None else side
    model = maker(name)(num_classes=setting.classes)
    images = jax.ShapeDtypeStruct((1, side, side, setting.channels), jnp.float32)
    try:
        variables = jax.eval_shape(model.init, jax.random.key(0), images)
    except InputError as error:
        raise InputError(f"{name} cannot take images of {side}×{side} pixels: {error}") from error
    return Network(name, model, images, variables)
