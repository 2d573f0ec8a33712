"""Flax Linen modules over `cnnjax.ops`, one short class each. Dropout is Flax's own, `flax.linen.Dropout`.

What is random in training (`LearnedPolyphase`, `StochasticDepth`, Flax's dropout) draws from the stream "dropout".
"""

from cnnjax.layers.activations import alias_free_gelu, alias_free_quadratic, alias_free_relu
from cnnjax.layers.block import ConvBlock
from cnnjax.layers.convolution import Conv, ConvTranspose, naming_layer
from cnnjax.layers.downsampling import Downsample, Pool
from cnnjax.layers.group import GroupConv, GroupMapPool, LiftingConv
from cnnjax.layers.initializers import delta_orthogonal, he_normal, lecun_normal
from cnnjax.layers.normalization import Norm, NormName, standardize
from cnnjax.layers.polyphase import LearnedPolyphase, take_phase
from cnnjax.layers.residual import BasicBlock, BottleneckBlock
from cnnjax.layers.squeeze_excite import SqueezeExcite
from cnnjax.layers.stochastic_depth import StochasticDepth

__all__ = [
    "BasicBlock",
    "BottleneckBlock",
    "Conv",
    "ConvBlock",
    "ConvTranspose",
    "Downsample",
    "GroupConv",
    "GroupMapPool",
    "LearnedPolyphase",
    "LiftingConv",
    "Norm",
    "NormName",
    "Pool",
    "SqueezeExcite",
    "StochasticDepth",
    "alias_free_gelu",
    "alias_free_quadratic",
    "alias_free_relu",
    "delta_orthogonal",
    "he_normal",
    "lecun_normal",
    "naming_layer",
    "standardize",
    "take_phase",
]
