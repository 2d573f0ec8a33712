"""Networks as compositions of layers. Each returns `(logits, activations)`; every axis of the design is a field."""

from cnnjax.models.alexnet import AlexNet, alexnet, alexnet_one_tower, alexnet_small
from cnnjax.models.all_conv import (
    AllConv,
    all_cnn_c,
    all_conv,
    base_cnn_c,
    conv_pool_cnn_c,
    group_all_conv,
    strided_cnn_c,
)
from cnnjax.models.conv_net import ConvNet
from cnnjax.models.lenet import LeNet5, lenet5
from cnnjax.models.mlp import MLP, mlp
from cnnjax.models.resnet import (
    ResNet,
    group_resnet,
    plain18,
    plain20,
    plain32,
    plain34,
    plain44,
    plain56,
    resnet,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from cnnjax.models.two_devices import split_towers, tower_shardings, two_devices
from cnnjax.models.vit import ViT, vit_tiny
from cnnjax.models.weights import load_weights, save_weights

__all__ = [
    "MLP",
    "AlexNet",
    "AllConv",
    "ConvNet",
    "LeNet5",
    "ResNet",
    "ViT",
    "alexnet",
    "alexnet_one_tower",
    "alexnet_small",
    "all_cnn_c",
    "all_conv",
    "base_cnn_c",
    "conv_pool_cnn_c",
    "group_all_conv",
    "group_resnet",
    "lenet5",
    "load_weights",
    "mlp",
    "plain18",
    "plain20",
    "plain32",
    "plain34",
    "plain44",
    "plain56",
    "resnet",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "save_weights",
    "split_towers",
    "strided_cnn_c",
    "tower_shardings",
    "two_devices",
    "vit_tiny",
]
