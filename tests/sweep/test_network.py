"""The fields of the networks as command-line options."""

import dataclasses
import re

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, layers, models
from cnnjax.data import Dataset
from cnnjax.data.dataset import Split
from cnnjax.sweep import network
from cnnjax.sweep.catalogue import CLASSES, NAMES, maker
from cnnjax.sweep.network import NetworkConfig, build

SPLIT = Split(np.zeros((5, 28, 28, 1), np.uint8), np.zeros(5, np.int32))
DIGITS = Dataset("digits", SPLIT, SPLIT, ("0", "1", "2"), mean=(0.1,), std=(0.3,), margin=0, note="")
OF_THE_DATA = {"num_classes": 3, "mean": (0.1,), "std": (0.3,)}
TYPED = {
    "activation": ("tanh", nn.tanh),
    "block": ("bottleneck", "bottleneck"),
    "depth": ("5", 5),
    "dense_widths": ("5 6", (5, 6)),
    "downsample": ("max_blur", "max_blur"),
    "dropout": ("0.25", 0.25),
    "dtype": ("bfloat16", jnp.bfloat16),
    "exact": (None, False),
    "exchange": (None, False),
    "factors": ("1 3", (1, 3)),
    "group": ("p4m", "p4m"),
    "groups": ("7", 7),
    "head": ("average", "average"),
    "head_width": ("11", 11),
    "heads": ("2", 2),
    "input_dropout": ("0.125", 0.125),
    "kernel_init": ("lecun_normal", layers.lecun_normal),
    "kernel_size": ("7", 7),
    "kernel_sizes": ("9 7 5 3 1", (9, 7, 5, 3, 1)),
    "match": ("width", "width"),
    "mlp_ratio": ("3", 3),
    "norm": ("none", "none"),
    "padding": ("reflect", "reflect"),
    "patch_size": ("14", 14),
    "pool_window": ("4", 4),
    "pre_activation": ("", True),
    "remat": ("", True),
    "residual": (None, False),
    "shortcut": ("B", "B"),
    "squeeze_excite": ("", True),
    "stem": ("7x7_strided", "7x7_strided"),
    "stem_stride": ("3", 3),
    "stride_at": ("1x1", "1x1"),
    "survival": ("0.5", 0.5),
    "taps": ("6", 6),
    "towers": ("1", 1),
    "width": ("8", 8),
    "width_per_group": ("32", 32),
    "widths": ("8 12", (8, 12)),
    "zero_init_last": ("", True),
}
"""A value of each field as it is typed, and what it is; None and "" are switches, off and on."""
OTHERWISE = {"activation": ("elu", nn.elu), "head": ("dense", "dense"), "norm": ("batch", "batch")}
"""Others, for networks of which the former are the defaults."""


@dataclasses.dataclass(frozen=True)
class Config:
    network: NetworkConfig = dataclasses.field(
        default_factory=lambda: NetworkConfig.of("all_conv", widths=(4,), depth=1)
    )
    mlp: NetworkConfig = dataclasses.field(default_factory=lambda: NetworkConfig.of("mlp"))


@pytest.fixture
def parsed(parsed_as):
    """The options that a line gives."""
    return parsed_as(Config)


@pytest.fixture
def unproven(monkeypatch):
    """Networks are made, but not traced on the images."""
    monkeypatch.setattr(network, "prove_size", lambda *_, **__: None)


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_of_every_model_can_be_typed(name, parsed, unproven):
    fields = {field.name: field.default for field in dataclasses.fields(CLASSES[name])}
    fields = {field: default for field, default in fields.items() if field not in ("parent", "name", *OF_THE_DATA)}
    expected = {field: TYPED[field] for field in fields}
    expected |= {
        field: pair for field, pair in OTHERWISE.items() if field in fields and fields[field] == TYPED[field][1]
    }
    typed = [
        f"--network.{'no-' * (text is None)}{field.replace('_', '-')} {text or ''}"
        for field, (text, _) in expected.items()
    ]
    model = build(parsed(f"--network.name {name} {' '.join(typed)}").network, DIGITS)
    for field, (_, value) in expected.items():
        assert getattr(model, field) == value != fields[field], field
    assert {field: getattr(model, field) for field in OF_THE_DATA} == OF_THE_DATA


@pytest.mark.parametrize("name", NAMES)
def test_a_name_alone_is_the_network_of_that_name(name, unproven):
    assert build(NetworkConfig.of(name), DIGITS) == maker(name)(**OF_THE_DATA)


def test_another_network_has_defaults_of_its_own(parsed):
    assert parsed("").network == NetworkConfig.of("all_conv", widths=(4,), depth=1)
    assert parsed("--network.name=all_conv --network.kernel-size 5").network == NetworkConfig.of(
        "all_conv", widths=(4,), depth=1, kernel_size=5
    )
    config = parsed("--mlp.widths 3 --network.kernel_size 5 --network.name resnet32")
    assert config.mlp == NetworkConfig.of("mlp", widths=(3,))
    assert build(config.network, DIGITS) == models.resnet32(**OF_THE_DATA, kernel_size=5)
    depths = parsed("--network.name resnet --network.depth 2 1 2 --network.head average").network
    assert build(depths, DIGITS) == models.ResNet(**OF_THE_DATA, depth=(2, 1, 2))


def test_help_is_that_of_the_network(parsed, capsys):
    def shown(line):
        with pytest.raises(SystemExit) as stopped:
            parsed(f"{line} --help")
        assert stopped.value.code == 0
        return " ".join(capsys.readouterr().out.replace("│", " ").split())

    assert "--network.widths [INT [INT ...]] Channels of each stage. (default: 4)" in shown("")
    vit = shown("--network.name vit_tiny")
    assert "--network.width INT Numbers of a token. (default: 192)" in vit
    assert "--network.widths" not in vit
    assert "alexnet, all_conv, lenet5, mlp, resnet, vgg or vit" in vit


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--network.name resnet21", "network.name='resnet21' is unknown; .* meant resnet32, resnet20"),
        ("--network.block bottleneck", "network.block has no meaning for all_conv: resnet has it"),
        (
            "--network.name mlp --network.stem 7x7",
            "network.stem has no meaning for mlp: all_conv, resnet or vgg has it",
        ),
        ("--network.name vit --network.no-exact", "network.exact has no meaning for vit: all_conv, resnet or vgg"),
        ("--mlp.heads=2", "network.heads has no meaning for mlp: vit has it"),
        ("--network.widths 0", r"network.widths=\(0,\) must be at least 1"),
        ("--network.name resnet20 --network.survival 2", "network.survival=2.0 must be at most 1"),
        ("--network.group p8", r"invalid choice 'p8'"),
        ("--network.stme 3x3", r"--network.stme.*Perhaps you meant.*--network.stem"),
        ("--network.activation rellu", r"rellu"),
    ],
)
def test_options_that_cannot_be_typed(line, message, parsed, capsys, without_type_checks):
    with pytest.raises(SystemExit) as stopped:
        parsed(line)
    assert stopped.value.code == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert re.search(message, said)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("vit", {"width": 8, "heads": 3}, "vit cannot take images of 28×28 pixels: ViT: width=8 must be a multiple"),
        ("vit", {"width": 8, "heads": 2, "patch_size": 5}, "patches of patch_size=5"),
        ("all_conv", {"exact": False}, "network.exact=False has no meaning without network.group"),
        ("all_conv", {"depth": (1, 2, 3)}, r"all_conv cannot take images of 28×28 pixels: AllConv: depth=\(1, 2, 3\)"),
        ("all_conv", {"group": "p4"}, r"28×28 pixels: layer stage1_conv3/conv: .* accept with exact=False"),
        ("all_conv", {"group": "p4", "head": "dense", "downsample": "max"}, "head='dense' weighs places"),
        (
            "all_conv",
            {"activation": "rellu"},
            "network.activation='rellu' is unknown; use one of relu, leaky_relu, .* meant relu",
        ),
    ],
)
def test_networks_that_cannot_be_built(name, fields, message):
    with pytest.raises(InputError, match=message):
        build(NetworkConfig.of(name, **fields), DIGITS)


def test_a_config_has_the_fields_of_its_network():
    with pytest.raises(InputError, match=r"network field='stme' is unknown; .* meant stem"):
        NetworkConfig.of("resnet20", stme="3x3")
    with pytest.raises(InputError, match=r"network\.depth has no meaning for mlp"):
        NetworkConfig.of("mlp").replace(depth=3)
    with pytest.raises(InputError, match=r"network.name=mlp has other fields: make it with NetworkConfig.of\('mlp'\)"):
        dataclasses.replace(NetworkConfig.of("vit"), name="mlp")
    assert NetworkConfig.of("resnet", depth=2).replace(depth=4) == NetworkConfig.of("resnet", depth=4)
