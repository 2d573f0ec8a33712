"""A network as command-line options."""

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnnjax import models
from cnnjax.data import Dataset
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.layers import Downsample, NormName
from cnnjax.sweep.ranges import check_memory
from cnnjax.sweep.traced import shapes_of


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The network."""

    name: Literal["all_conv", "resnet", "mlp", "vit"] = "all_conv"
    """All-convolutional, residual, a multilayer perceptron, or a vision transformer."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of each stage; for mlp, units of each hidden layer; for vit, one number: the width of its tokens."""
    depth: int | tuple[int, ...] = 1
    """Convolutions (all_conv) or blocks (resnet) in a stage: one number for all, or one for each; for vit, blocks."""
    factors: tuple[int, ...] | None = None
    """By how much each stage shrinks its map; 1 leaves it. By default 2, but for resnet's first stage."""
    kernel_size: int = 3
    """Side of the convolution windows, in pixels."""
    stem: Literal["none", "3x3", "7x7"] | None = None
    """What comes before the stages; 7x7 shrinks the map by 4. By default none for all_conv, 3x3 for resnet."""
    padding: Literal["same", "valid", "full", "circular", "reflect", "same_xla"] = "same"
    """What convolutions see beyond the border."""
    downsample: Downsample = "stride"
    """How stages shrink their maps: by the stride of a convolution, or by a pool after one of stride 1."""
    norm: NormName = "batch"
    """Normalisation after each convolution."""
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"] = "relu"
    """Nonlinearity."""
    head: Literal["average", "dense", "convolutional"] | None = None
    """From the last map to class scores. By default convolutional for all_conv, average for resnet."""
    group: Literal["p4", "p4m"] | None = None
    """Group convolutions, which turn (p4m: and mirror) with the image, with about as many parameters."""
    exact: bool = True
    """Refuse sizes at which they would not turn exactly."""
    residual: bool = True
    """For resnet: with shortcuts; without, it is its plain twin."""
    block: Literal["basic", "bottleneck"] = "basic"
    """For resnet: blocks of two convolutions, or of three with the widths times 4 at their end."""
    shortcut: Literal["A", "B"] = "A"
    """For resnet: where shapes change, shortcuts append zeros (A) or are 1×1 convolutions (B)."""
    pre_activation: bool = False
    """For resnet: normalisation and activation before the convolutions (version 2)."""
    patch_size: int = 4
    """For vit: side of the square patches that become tokens, in pixels."""
    heads: int = 4
    """For vit: heads of attention, which share the width."""
    bfloat16: bool = False
    """Multiply in bfloat16; parameters and statistics stay float32."""


MODELS = {"all_conv": models.AllConv, "resnet": models.ResNet, "mlp": models.MLP, "vit": models.ViT}
EVERY = ("name", "widths", "bfloat16")
CONVOLUTIONAL = (
    *("activation", "depth", "factors", "kernel_size", "stem", "padding", "downsample", "norm", "head"),
    *("group", "exact"),
)
OWN = {
    "all_conv": CONVOLUTIONAL,
    "resnet": (*CONVOLUTIONAL, "residual", "block", "shortcut", "pre_activation"),
    "mlp": ("activation",),
    "vit": ("depth", "patch_size", "heads"),
}
"""The other fields that a network has; what it does not have would change a run's name and nothing else."""


@checked()
def build(config: NetworkConfig, dataset: Dataset, *, default: NetworkConfig | None = None) -> nn.Module:
    """The network for a dataset, proven on its image shape without running it.

    `default` is the experiment's own; what another network does not have of it is left out. Raises `InputError` for
    fields that cannot be built, naming the layer where there is one.
    """
    own = OWN[config.name]
    for field in dataclasses.fields(config):
        left_alone = (field.default, getattr(default, field.name, field.default))
        if field.name not in (*EVERY, *own) and getattr(config, field.name) not in left_alone:
            raise InputError(
                f"network.{field.name}={getattr(config, field.name)} has no meaning for {config.name}: leave it out"
            )
    if config.group is None and not config.exact:
        raise InputError("network.exact=False has no meaning without network.group: leave it out")
    # None is the network's own default.
    fields: dict[str, Any] = {name: getattr(config, name) for name in own if getattr(config, name) is not None}
    fields |= dict(
        num_classes=len(dataset.class_names),
        widths=tuple(config.widths),
        mean=dataset.mean,
        std=dataset.std,
        dtype=jnp.bfloat16 if config.bfloat16 else jnp.float32,
    )
    if "activation" in fields:
        fields["activation"] = getattr(nn, config.activation)
    if config.name == "vit":
        widths = fields.pop("widths")
        if len(widths) != 1 or not isinstance(config.depth, int):
            raise InputError(
                f"network.widths={widths} and network.depth={config.depth} of vit must be one number each: all its "
                "blocks have one width"
            )
        fields["width"] = widths[0]
    if config.name == "all_conv":
        fields["head_width"] = config.widths[-1] if config.widths else 0
    model: nn.Module = MODELS[config.name](**fields)
    prove_size(model, dataset, name=config.name)
    return model


def blocks_of(depth: int, *, option: str = "depth") -> int:
    """The blocks in each of the three stages of He et al.'s CIFAR networks of `depth` = 6n + 2 layers, n.

    Raises `InputError`, naming the option, for another depth.
    """
    if depth < 8 or depth % 6 != 2:
        near = max(8, round((depth - 2) / 6) * 6 + 2)
        raise InputError(f"{option} has {depth}, which is not 6n + 2 with n of 1 or more: {near} is")
    return (depth - 2) // 6


def prove_size(model: nn.Module, dataset: Dataset, *, name: str) -> None:
    """Raise `InputError` where the network called `name` cannot take the images, without running it."""
    shape = dataset.train.images.shape[1:]
    try:
        _, variables = shapes_of(model, shape)
    except InputError as error:
        height, width, _ = shape
        raise InputError(f"network {name} cannot take images of {height}×{width} pixels: {error}") from error
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))
    # The parameters, their gradient, the momentum and what comes of them.
    check_memory(16 * numbers, f"training the network {name} of {numbers:,} parameters", "give smaller widths")
