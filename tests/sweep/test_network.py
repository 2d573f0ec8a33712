"""The axes of the networks as command-line options."""

import jax.numpy as jnp
import numpy as np
import pytest
import tyro

from cnnjax import InputError, models
from cnnjax.data import Dataset, Split
from cnnjax.sweep.network import NetworkConfig, build

FIVE = Split(np.zeros((5, 28, 28, 1), np.uint8), np.zeros(5, np.int32))
DIGITS = Dataset("digits", FIVE, FIVE, ("0", "1", "2"), (0.1,), (0.3,), 0, "five")


def parsed(line):
    return build(tyro.cli(NetworkConfig, args=line.split()), DIGITS)


def test_options_become_the_fields_of_the_network():
    shared = dict(num_classes=3, widths=(16, 32, 64), mean=(0.1,), std=(0.3,))
    assert parsed("") == models.AllConv(depth=1, head_width=64, **shared)
    assert parsed("--name resnet") == models.ResNet(depth=1, **shared)
    assert parsed("--name mlp --bfloat16") == models.MLP(dtype=jnp.bfloat16, **shared)
    assert parsed("--name vit --widths 8 --depth 2 --heads 2 --patch-size 7") == models.ViT(
        num_classes=3, width=8, depth=2, heads=2, patch_size=7, mean=(0.1,), std=(0.3,)
    )
    line = "--name resnet --widths 4 6 --depth 2 1 --factors 1 2 --group p4m --no-exact --stem 7x7 --head convolutional"
    assert parsed(f"{line} --block bottleneck --shortcut B --pre-activation --no-residual") == models.ResNet(
        **{**shared, "widths": (4, 6)},
        **dict(depth=(2, 1), factors=(1, 2), group="p4m", exact=False, stem="7x7", head="convolutional"),
        **dict(block="bottleneck", shortcut="B", pre_activation=True, residual=False),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--block bottleneck", "network.block=bottleneck has no meaning for all_conv"),
        ("--name mlp --group p4", "network.group=p4 has no meaning for mlp"),
        ("--name vit --widths 8 --activation tanh", "network.activation=tanh has no meaning for vit"),
        ("--name vit", r"network.widths=\(16, 32, 64\) and network.depth=1 of vit must be one number each"),
        ("--name vit --widths 8 --heads 3", "vit cannot take images of 28×28 pixels: ViT: width=8 must be a multiple"),
        ("--name vit --widths 8 --patch-size 5", "patches of patch_size=5"),
        ("--heads 2", "network.heads=2 has no meaning for all_conv"),
        ("--no-exact", "network.exact=False has no meaning without network.group"),
        ("--depth 1 2", r"all_conv cannot take images of 28×28 pixels: AllConv: depth=\(1, 2\)"),
        ("--group p4", r"28×28 pixels: layer stage1_conv1/conv: .* accept with exact=False"),
        ("--group p4 --head dense --downsample max", "head='dense' weighs places"),
    ],
)
def test_options_that_cannot_be(line, message):
    with pytest.raises(InputError, match=message):
        parsed(line)
