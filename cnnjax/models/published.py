"""The networks whose weights are published for PyTorch, by the names that they have there."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from cnnjax.errors import InputError
from cnnjax.models import torch_names
from cnnjax.models.alexnet import alexnet_one_tower
from cnnjax.models.resnet import (
    resnet18,
    resnet18_lpf4,
    resnet34,
    resnet34_lpf4,
    resnet50,
    resnet50_lpf4,
    resnet101,
    resnet101_lpf4,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from cnnjax.models.torch_names import Names
from cnnjax.models.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn


class Network(NamedTuple):
    """A network here and its names there."""

    make: Callable[..., nn.Module]
    names: Callable[[Any], Names]
    path: str
    """The path here of the convolution that reads the image."""
    first: str
    """The name there of that convolution."""
    last: str
    """The name there of the layer that scores classes."""
    also: Mapping[str, str] = {}
    """Layers that timm's files have under another name, and torchvision's for each."""


_numbered = "features.0", "classifier.6"
_named = dict(path="conv1/conv", first="conv1", last="fc")
_vgg = functools.partial(
    Network,
    names=torch_names.vgg,
    path="stage1_conv1/conv",
    first=_numbered[0],
    last=_numbered[1],
    also=torch_names.TIMM_VGG,
)
_resnet = functools.partial(Network, names=torch_names.resnet, **_named)
_blurred = functools.partial(Network, names=torch_names.blurred_resnet, **_named)
NETWORKS = {
    "alexnet": Network(alexnet_one_tower, torch_names.alexnet, "conv1", *_numbered),
    "vgg11": _vgg(vgg11),
    "vgg11_bn": _vgg(vgg11_bn),
    "vgg13": _vgg(vgg13),
    "vgg13_bn": _vgg(vgg13_bn),
    "vgg16": _vgg(vgg16),
    "vgg16_bn": _vgg(vgg16_bn),
    "vgg19": _vgg(vgg19),
    "vgg19_bn": _vgg(vgg19_bn),
    "resnet18": _resnet(resnet18),
    "resnet34": _resnet(resnet34),
    "resnet50": _resnet(resnet50),
    "resnet101": _resnet(resnet101),
    "resnet152": _resnet(resnet152),
    "resnext50_32x4d": _resnet(resnext50_32x4d),
    "resnext101_32x8d": _resnet(resnext101_32x8d),
    "resnext101_64x4d": _resnet(resnext101_64x4d),
    "wide_resnet50_2": _resnet(wide_resnet50_2),
    "wide_resnet101_2": _resnet(wide_resnet101_2),
    "resnet18_lpf4": _blurred(resnet18_lpf4),
    "resnet34_lpf4": _blurred(resnet34_lpf4),
    "resnet50_lpf4": _blurred(resnet50_lpf4),
    "resnet101_lpf4": _blurred(resnet101_lpf4),
}


def published(name: str) -> Network:
    """The network of that name. Raises `InputError` where there is none."""
    if name not in NETWORKS:
        raise InputError(
            f"no weights for {name!r}: one of {', '.join(NETWORKS)}, as torchvision, timm and antialiased-cnns call "
            "them; they have no networks for small images, and their ResNets are not the pre-activated ones (version 2)"
        )
    return NETWORKS[name]
