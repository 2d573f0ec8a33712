"""A network as command-line options."""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnnjax import models
from cnnjax.data import Dataset
from cnnjax.errors import InputError
from cnnjax.layers import Downsample, NormName


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The network."""

    name: Literal["all_conv", "resnet", "mlp"] = "all_conv"
    """All-convolutional, residual, or a multilayer perceptron."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of each stage; for mlp, units of each hidden layer."""
    depth: int = 1
    """Convolutions (all_conv) or blocks (resnet) in a stage."""
    kernel_size: int = 3
    """Side of the convolution windows, in pixels."""
    padding: Literal["same", "valid", "full", "circular", "reflect", "same_xla"] = "same"
    """What convolutions see beyond the border."""
    downsample: Downsample = "stride"
    """How stages halve their maps: by the stride of a convolution, or by 2×2 pooling after one."""
    norm: NormName = "batch"
    """Normalisation after each convolution."""
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"] = "relu"
    """Nonlinearity."""
    residual: bool = True
    """For resnet: with shortcuts; without, it is its plain twin."""
    bfloat16: bool = False
    """Multiply in bfloat16; parameters and statistics stay float32."""


UNUSED = {
    "all_conv": ("residual",),
    "resnet": (),
    "mlp": ("depth", "kernel_size", "padding", "downsample", "norm", "residual"),
}
"""Fields that a network does not have; they would change a run's name and nothing else."""


def build(config: NetworkConfig, dataset: Dataset) -> nn.Module:
    """The network for a dataset, proven on its image shape without running it.

    Raises `InputError` for fields that cannot be built, naming the layer where there is one.
    """
    for name in UNUSED[config.name]:
        if getattr(config, name) != getattr(NetworkConfig(), name):
            raise InputError(f"network.{name}={getattr(config, name)} has no meaning for {config.name}: leave it out")
    shared: dict = dict(
        num_classes=len(dataset.class_names),
        widths=tuple(config.widths),
        activation=getattr(nn, config.activation),
        mean=dataset.mean,
        std=dataset.std,
        dtype=jnp.bfloat16 if config.bfloat16 else jnp.float32,
    )
    if config.name == "mlp":
        model: nn.Module = models.MLP(**shared)
    else:
        shared |= dict(
            depth=config.depth,
            kernel_size=config.kernel_size,
            padding=config.padding,
            downsample=config.downsample,
            norm=config.norm,
        )
        if config.name == "all_conv":
            head_width = config.widths[-1] if config.widths else 0
            model = models.AllConv(head_width=head_width, **shared)
        else:
            model = models.ResNet(residual=config.residual, **shared)
    images = jax.ShapeDtypeStruct((1, *dataset.train.images.shape[1:]), jnp.float32)
    try:
        jax.eval_shape(model.init, jax.random.key(0), images)
    except InputError as error:
        height, width = images.shape[1:3]
        raise InputError(f"network {config.name} cannot take images of {height}×{width} pixels: {error}") from error
    return model
