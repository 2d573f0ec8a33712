"""Projections and attributions against captum's, on AlexNet, ResNet-18 and a small network with random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import models, ops
from cnnjax.analysis import Projector, grad_cam, integrated_gradients, saliency

torch = pytest.importorskip("torch", reason="the comparison with captum needs torch")
attr = pytest.importorskip("captum.attr", reason="captum is not installed")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="weights travel by safetensors")
nn = torch.nn

from torchvision_alexnet import AlexNet  # noqa: E402

THEIRS = {
    "gradient": attr.NeuronGradient,
    "deconvnet": attr.NeuronDeconvolution,
    "guided": attr.NeuronGuidedBackprop,
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


class Pixels(nn.Module):
    """The network behind the standardisation of pixels, which load_weights puts into ours."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        return self.network((x - mean[:, None, None]) / std[:, None, None])


class Block(nn.Module):
    """Each rectifier is a module of its own: captum hooks modules, and one that is used twice it cannot tell apart."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2, self.relu1, self.relu2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width), nn.ReLU(), nn.ReLU()
        self.downsample = nn.Identity()
        if stride > 1 or channels != width:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.downsample(x))


class ResNet18(nn.Module):
    def __init__(self, widths, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
        self.bn1, self.relu, self.pool = nn.BatchNorm2d(widths[0]), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        for stage, (before, width) in enumerate(zip((widths[0], *widths), widths, strict=False), 1):
            blocks = Block(before, width, 2 if stage > 1 else 1), Block(width, width, 1)
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, x):
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


def randomised(network):
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value.fill_(3)
        elif value.ndim > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        elif "weight" in name or name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        else:
            value.normal_(0, 0.3, generator=generator)
    return network.eval()


ALEXNET = dict(widths=(6, 8, 8, 6, 7), dense_widths=(12, 11))
RESNET = dict(widths=(6, 8, 10, 12))


@pytest.mark.parametrize(
    ("name", "network", "fields", "size", "layer", "module"),
    [
        ("alexnet", AlexNet, ALEXNET, 224, "fc6", lambda n: n.classifier[2]),
        ("resnet18", ResNet18, RESNET, 64, "stage3_block2", lambda n: n.layer3[1]),
    ],
)
@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
def test_projections_are_captums(name, network, fields, size, layer, module, tmp_path):
    network = randomised(network(**fields, num_classes=5))
    safetensors_torch.save_file(network.state_dict(), tmp_path / "a.safetensors")
    model, variables = models.load_weights(name, tmp_path / "a.safetensors", **fields)
    image = np.random.default_rng(0).random((size, size, 3), np.float32)
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    apply = jax.jit(model.apply)
    for rule, attribution in THEIRS.items():
        ours = Projector(lambda x: apply(variables, x), layer, rule=rule)(image)
        active = np.flatnonzero(ours.values)
        assert len(active) >= 3
        for unit in active[:3]:
            theirs = attribution(Pixels(network), module(network))
            index = tuple(int(i) for i in np.roll(ours.units[unit], 1))
            expected = theirs.attribute(pixels.clone().requires_grad_(), neuron_selector=index)
            expected = ours.values[unit] * expected[0].detach().numpy().transpose(1, 2, 0)
            assert expected.any()
            scale = np.abs(expected).max()
            np.testing.assert_allclose(ours.pictures[unit], expected, rtol=0, atol=1e-5 * scale)


class Small(nn.Module):
    """Pools whose windows do not overlap, in place of AlexNet's and ResNet's that do."""

    def __init__(self):
        super().__init__()
        convolutions = nn.Conv2d(3, 8, 5, padding=2), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        pools = nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Identity()
        layers = zip(convolutions, (nn.ReLU() for _ in range(3)), pools, strict=True)
        self.features = nn.Sequential(*(part for layer in layers for part in layer))
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def small():
    """The network, the same one here, and images for both."""
    network = randomised(Small())
    convolutions = [network.features[i] for i in (0, 3, 6)]
    weights = [jnp.asarray(c.weight.detach().numpy().transpose(2, 3, 1, 0)) for c in convolutions]
    biases = [jnp.asarray(c.bias.detach().numpy())[None, None, None] for c in convolutions]
    dense, shift = (jnp.asarray(p.detach().numpy()) for p in (network.head.weight, network.head.bias))

    @jax.jit
    def f(x):
        for kernel, bias in zip(weights, biases, strict=True):
            x = jax.nn.relu(ops.conv(x, kernel) + bias)
            maps, x = x, ops.max_pool(x, 2)
        return {"maps": maps, "logits": maps.mean((1, 2)) @ dense.T + shift[None]}

    images = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)
    return network, f, images, torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def here(maps):
    return maps.detach().numpy().transpose(0, 2, 3, 1)


def assert_close(ours, theirs):
    assert theirs.any()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
def test_pools_that_do_not_collide():
    network, f, images, pixels = small()
    for rule, attribution in THEIRS.items():
        ours = Projector(f, "maps", rule=rule)(images[0])
        active = np.flatnonzero(ours.values)
        assert len(active) >= 3
        for unit in active[:3]:
            index = tuple(int(i) for i in np.roll(ours.units[unit], 1))
            theirs = attribution(network, network.features[7]).attribute(
                pixels[:1].clone().requires_grad_(), neuron_selector=index
            )
            assert_close(ours.pictures[unit], ours.values[unit] * here(theirs)[0])


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
def test_attributions_are_captums():
    network, f, images, pixels = small()
    units = [2, 0, 3]
    pixels, targets = pixels.requires_grad_(), torch.tensor(units)
    ours = saliency(f, images, "logits", units).maps
    assert_close(ours, here(attr.Saliency(network).attribute(pixels, targets, abs=False)))
    for rule, attribution in (("deconvnet", attr.Deconvolution), ("guided", attr.GuidedBackprop)):
        ours = saliency(f, images, "logits", units, rule=rule).maps
        assert_close(ours, here(attribution(network).attribute(pixels, targets)))
    ours = integrated_gradients(f, images, "logits", units, baseline=0.5, steps=20).maps
    integrated = attr.IntegratedGradients(network).attribute(pixels, 0.5, targets, n_steps=20)
    assert_close(ours, here(integrated))
    ours = grad_cam(f, images, "maps", units, output="logits", resize=False).maps
    cam = attr.LayerGradCam(network, network.features[7]).attribute(pixels, targets, relu_attributions=True)
    assert_close(ours, here(cam))
