"""Flax Linen modules over `cnnjax.ops`, one short class each."""

from cnnjax.layers.convolution import Conv, he_normal, naming_layer
from cnnjax.layers.downsampling import ConvBlock, Downsample, conv_stride, pool
from cnnjax.layers.normalization import Norm, NormName, standardize
from cnnjax.layers.residual import BasicBlock

__all__ = [
    "BasicBlock",
    "Conv",
    "ConvBlock",
    "Downsample",
    "Norm",
    "NormName",
    "conv_stride",
    "he_normal",
    "naming_layer",
    "pool",
    "standardize",
]
