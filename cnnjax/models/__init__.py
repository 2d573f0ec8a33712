"""Networks as compositions of layers. Each returns `(logits, activations)`; every axis of the design is a field."""

from cnnjax.models.all_conv import AllConv, all_cnn_c, all_conv
from cnnjax.models.mlp import MLP, mlp
from cnnjax.models.resnet import (
    ResNet,
    plain20,
    plain32,
    plain44,
    plain56,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
)

__all__ = [
    "MLP",
    "AllConv",
    "ResNet",
    "all_cnn_c",
    "all_conv",
    "mlp",
    "plain20",
    "plain32",
    "plain44",
    "plain56",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
]
