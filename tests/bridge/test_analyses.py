"""Analyses of networks of PyTorch: hand-computed receptive fields, published costs, backward rules, interventions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import analysis, models
from cnnjax.errors import InputError
from tests.repeats import repeated

torch = pytest.importorskip("torch", reason="networks of PyTorch need torch")
side = pytest.importorskip("tests.bridge.torch_side", reason="networks of PyTorch need torch")
networks = pytest.importorskip("tests.bridge.torch_networks", reason="networks of PyTorch need torch")
transformers = pytest.importorskip("tests.bridge.torch_transformers", reason="networks of PyTorch need torch")
F, nn = torch.nn.functional, torch.nn


def bound(module, size, **options):
    forward, variables = models.from_torch(module, (size, size, 3), **options)
    return lambda images: forward(variables, images)


def vgg16(width=1):
    """Simonyan & Zisserman 2015, configuration D, up to its last pool."""
    layers, channels = [], 3
    for stage, depth in enumerate((2, 2, 3, 3, 3)):
        for _ in range(depth):
            features = min(2**stage, 8) * width
            layers += [nn.Conv2d(channels, features, 3, padding=1), nn.ReLU(inplace=True)]
            channels = features
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


def mobilenet_v2(width=1):
    """Sandler et al. 2018, table 2: expansion, channels, blocks, stride."""
    inputs, layers = 32 // width, [networks.conv_bn(3, 32 // width, 3, 2, act=nn.ReLU6)]
    for expand, channels, count, stride in [
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ]:
        for number in range(count):
            outputs = channels // width
            layers.append(networks.InvertedResidual(inputs, outputs, stride if number == 0 else 1, expand))
            if expand == 1:
                # Without an expansion there is no convolution for it.
                layers[-1].conv[0] = nn.Identity()
            inputs = outputs
    layers.append(networks.conv_bn(inputs, 1280 // width, 1, act=nn.ReLU6))
    return networks.Classifier(*layers, channels=1280 // width, classes=1000)


class ChannelsLast(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1)


def fields(module, size):
    return analysis.receptive_field(bound(module, size), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))[1]


@pytest.mark.parametrize(
    ("make", "size", "layer", "expected"),
    repeated(
        [
            (vgg16, 64, "30", (212, 32, 90)),  # Araujo et al. 2019, table 1
            (lambda: networks.ResNet(networks.BasicBlock, (2, 2, 2, 2), 1), 64, "layer4", (435, 32, 217)),  # the same
            # 3 × 3 at strides 2 by 2 until then: 1 + 2 (1 + 2 + 2 + 4 + 4 + 2·8 + 8 + 3·16 + 3·16 + 16 + 2·32 + 32).
            (lambda: mobilenet_v2(8), 64, "18", (491, 32, 245)),
        ]
    ),
)
def test_receptive_fields_are_those_of_the_layers_by_hand(make, size, layer, expected):
    field = fields(make(), size)[layer]
    assert (*field.size, *field.stride, *field.padding) == tuple(n for n in expected for _ in "yx")
    assert field.axis == (1, 2)


def test_receptive_fields_of_convnext_by_hand():
    stem = nn.Sequential(nn.Conv2d(3, 2, 4, 4), networks.LayerNorm2d(2))
    stage = lambda: nn.Sequential(*(networks.ConvNeXtBlock(2) for _ in range(3)))  # noqa: E731
    down = nn.Sequential(networks.LayerNorm2d(2), nn.Conv2d(2, 2, 2, 2))
    found = fields(nn.Sequential(stem, stage(), down, stage()), 64)
    # 7 × 7 three times at stride 4: 4 + 3·6·4; 2 × 2 at stride 4: + 4; then three times at stride 8: + 3·6·8.
    for layer, expected in {"0": (4, 4, 0), "1": (76, 4, 36), "2": (80, 8, 36), "3": (224, 8, 108)}.items():
        assert (found[layer].size[0], found[layer].stride[0], found[layer].padding[0]) == expected
    # The first linear layer and its activation see channels last in PyTorch too.
    assert found["1.0.pwconv1"].axis == found["1.0.dwconv"].axis == (1, 2)


def test_receptive_fields_of_branches_are_their_union():
    found = fields(networks.Inception(), 32)
    # The stem: 3 at stride 2, 3 at stride 2: 7 at stride 4. 1 × 7 then adds 24 along one axis.
    assert found["stem"].size == (7, 7)
    assert found["one"].size == (7, 7)
    assert found["seven.0"].size == (7, 31)
    assert found["seven"].size == (31, 31)


def test_receptive_fields_of_tokens_are_their_patches():
    module = bound(transformers.ViT(), 32)
    found = analysis.receptive_field(analysis.token_maps(module), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))[1]
    for layer in ("patch", "blocks.0.norm1", "blocks.0.attn.qkv"):
        field = found[layer]
        assert (field.size, field.stride, field.padding, field.axis) == ((8, 8), (8, 8), (0, 0), (1, 2))
    # Attention reads all of them.
    assert (found["blocks.0"].size, found["blocks.0"].stride) == ((32, 32), (0, 0))


def test_receptive_fields_of_windows_are_those_that_they_met():
    layers = nn.Conv2d(3, 4, 4, 4), ChannelsLast(), transformers.SwinBlock(4, 16, 0)
    found = fields(nn.Sequential(*layers, transformers.SwinBlock(4, 16, 2)), 64)
    assert (found["0"].size, found["0"].stride) == ((4, 4), (4, 4))
    # Windows of 4 patches are 16 pixels; moved by 2 patches round the border, each meets two of them.
    for unit in range(16):
        first = 16 * (unit // 4)
        moved = (unit - 2) // 4 % 4
        both = {16 * ((moved + i) % 4) + p for i in (0, 1) for p in range(16)}
        for axis in (0, 1):
            assert found["2"].support((unit, unit))[axis].tolist() == list(range(first, first + 16))
            assert set(found["3"].support((unit, unit))[axis].tolist()) == both


def cost_of(module):
    forward, variables = models.from_torch(module, (224, 224, 3))
    return analysis.cost(forward, jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32), variables)


def test_costs_are_the_published_ones():
    cost = cost_of(networks.ResNet(networks.BasicBlock, (2, 2, 2, 2), 64, classes=1000))
    # torchvision's documentation: 11,689,512 parameters, 1.81 GFLOPS.
    assert (cost.parameters, round(cost.multiply_adds / 1e9, 2)) == (11_689_512, 1.81)


@pytest.mark.slow
def test_costs_of_groups_are_the_published_ones():
    cost = cost_of(mobilenet_v2())
    # torchvision's documentation: 3,504,872 parameters, 0.3 GFLOPS; Sandler et al. 2018, table 4: 3.4M and 300M.
    assert (cost.parameters, round(cost.multiply_adds / 1e9, 1)) == (3_504_872, 0.3)
    assert cost.layers["0.0"].multiply_adds == 112 * 112 * 27 * 32


class Rectified(torch.autograd.Function):
    """A rectifier with the backward rule that `rule` names."""

    rule = "guided"

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        g = g.clamp(min=0)
        return g if Rectified.rule == "deconvnet" else g * (x > 0)


class Spelt(nn.Module):
    """A network whose rectifiers are modules used twice, functions, and in place (captum 199, 200, 578, 1082, 1104)."""

    def __init__(self, relu=None):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1) for i in range(7))
        self.module, self.in_place, self.fc = nn.ReLU(), nn.ReLU(inplace=True), nn.Linear(8, 2)
        spellings = (F.relu, torch.relu, lambda x: x.relu_(), lambda x: F.relu(x, inplace=True))
        spellings += (self.module, self.module, self.in_place)
        self.relus = [relu or spelling for spelling in spellings]

    def forward(self, x):
        for conv, relu in zip(self.convs, self.relus, strict=True):
            x = relu(conv(x))
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("rule", repeated(["guided", "deconvnet"]))
def test_backward_rules_reach_rectifiers_however_they_are_written(rule):
    module = side.drawn(Spelt)
    forward = bound(module, 8)
    images = side.pixels(2, 8)
    found = analysis.rectifiers(forward, images)
    assert (len(found.found), found.others) == (7, ())
    assert [r.scope.rpartition("/")[2] for r in found.found[4:]] == ["module", "module", "in_place"]

    ruled = analysis.with_relu_rule(lambda x: forward(x)[0][:, 1].sum(), rule)
    ours = jax.grad(ruled)(jnp.asarray(images))

    Rectified.rule = rule
    reference = Spelt(Rectified.apply)
    reference.load_state_dict(module.state_dict())
    x = torch.tensor(images).permute(0, 3, 1, 2).requires_grad_()
    reference(x)[:, 1].sum().backward()
    assert x.grad.abs().max() > 0
    assert side.difference(ours, x.grad.numpy()) < 1e-5


@pytest.mark.parametrize(
    ("make", "form"),
    repeated([(nn.ReLU6, "relu6"), (nn.GELU, "erfc"), (nn.Hardswish, "hard_silu"), (nn.SiLU, "silu")], quick=2),
)
def test_rules_name_or_refuse_activations_that_are_no_rectifiers(make, form):
    forward = bound(nn.Sequential(nn.Conv2d(3, 2, 3), make()), 8)
    found = analysis.rectifiers(forward, side.pixels(1, 8))
    assert found.found == ()
    assert form in {other.form for other in found.others}
    with pytest.raises(InputError, match=f"f has no rectifier.*{form}"):
        analysis.with_relu_rule(forward, "guided")(jnp.asarray(side.pixels(1, 8)))


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


@pytest.mark.parametrize("make", repeated([nn.ReLU6, nn.GELU, nn.Hardswish], quick=2))
def test_activations_beside_rectifiers_keep_their_derivative(make):
    def network(relu):
        return nn.Sequential(nn.Conv2d(3, 6, 3), relu, nn.Conv2d(6, 6, 3), make(), nn.Flatten(), nn.Linear(96, 2))

    module, images = side.drawn(lambda: network(nn.ReLU())), side.pixels(2, 8)
    forward = bound(module, 8)
    ours = jax.grad(analysis.with_relu_rule(lambda x: forward(x)[0][:, 1].sum(), "guided"))(jnp.asarray(images))

    Rectified.rule = "guided"
    reference = network(Function(Rectified.apply))
    reference.load_state_dict(module.state_dict())
    x = torch.tensor(images).permute(0, 3, 1, 2).requires_grad_()
    reference(x)[:, 1].sum().backward()
    assert x.grad.abs().max() > 0
    assert side.difference(ours, x.grad.numpy()) < 1e-5
    with pytest.raises(InputError, match="no rectifiers"):
        analysis.with_relu_rule(forward, "guided", others="refuse")(jnp.asarray(images))


def test_activations_are_edited_where_they_are_computed():
    module = side.drawn(lambda: networks.ResNet(networks.BasicBlock))
    images = jnp.asarray(side.pixels(2))
    forward = bound(module, 32)
    edited = analysis.intervene(forward, lambda name, a: jnp.zeros_like(a) if name == "layer1.0.conv2" else a)
    logits, activations = edited(images)

    module.layer1[0].conv2.register_forward_hook(lambda _, __, y: torch.zeros_like(y))
    expected, by_path = side.results(module, np.asarray(images))
    assert side.difference(logits, expected.numpy()) < 1e-5
    assert side.difference(activations["layer2"], by_path["layer2"]) < 1e-5


def test_units_are_projected_and_equivariance_is_measured():
    module = side.drawn(lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.ReLU()))
    forward = bound(module, 12)
    images = jnp.asarray(side.pixels(2, 12))
    errors = analysis.equivariance_error(forward, images, analysis.Shift((0, 3), fill="circular"))
    assert max(map(float, map(np.max, jax.tree.leaves(errors)))) < 1e-5
    projection = analysis.project(forward, images[0], "1/1", unit=2)
    assert projection.values[0] == np.max(forward(images[:1])[1]["1"][..., 2])
    assert projection.pictures.shape == (1, 12, 12, 3)
