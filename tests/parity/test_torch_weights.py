"""Files of weights against PyTorch: networks written here with torchvision's names, and the logits that they give."""

import argparse

import jax
import numpy as np
import pytest

from cnnjax import InputError, models

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
nn = torch.nn

from torchvision_alexnet import AlexNet  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


class Blur(nn.Module):
    """Zhang's: the border mirrored, (taps − 1) / 2 pixels before and after, the odd one after; a filter by channel."""

    def __init__(self, channels, taps):
        super().__init__()
        line = {2: [1.0, 1.0], 3: [1.0, 2.0, 1.0], 4: [1.0, 3.0, 3.0, 1.0]}[taps]
        plane = torch.tensor(line)[:, None] * torch.tensor(line)
        self.register_buffer("filt", (plane / plane.sum()).repeat(channels, 1, 1, 1))
        self.border = [(taps - 1) // 2, taps // 2] * 2

    def forward(self, x):
        return nn.functional.conv2d(
            nn.functional.pad(x, self.border, mode="reflect"), self.filt, stride=2, groups=x.shape[1]
        )


class Block(nn.Module):
    """A basic block where `expansion` is 1, else a bottleneck with its stride in the 3×3 convolution.

    With `taps`, that convolution and the projection have stride 1, and a blur comes before what reads them.
    """

    def __init__(self, channels, width, stride, expansion, groups=1, per_group=64, taps=None):
        super().__init__()
        features = width * expansion
        step = 1 if taps else stride
        if expansion == 1:
            sizes = [(channels, width, 3, step, 1), (width, width, 3, 1, 1)]
        else:
            inner = width * per_group // 64 * groups
            sizes = [(channels, inner, 1, 1, 1), (inner, inner, 3, step, groups), (inner, features, 1, 1, 1)]
        self.count = len(sizes)
        for number, (inputs, outputs, size, step, parts) in enumerate(sizes, 1):
            conv = nn.Conv2d(inputs, outputs, size, step, size // 2, groups=parts, bias=False)
            blurs = taps and stride > 1 and number == self.count
            setattr(self, f"conv{number}", nn.Sequential(Blur(inputs, taps), conv) if blurs else conv)
            setattr(self, f"bn{number}", nn.BatchNorm2d(outputs))
        self.downsample = nn.Identity()
        if stride > 1 or channels != features:
            projection = nn.Conv2d(channels, features, 1, 1 if taps else stride, bias=False)
            before = [Blur(channels, taps)] if taps and stride > 1 else []
            self.downsample = nn.Sequential(*before, projection, nn.BatchNorm2d(features))

    def forward(self, x):
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = torch.relu(y) if number < self.count else y
        return torch.relu(y + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self, expansion, depth, widths, num_classes, taps=None, **inner):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        if taps:
            self.maxpool = nn.Sequential(nn.MaxPool2d(2, 1), Blur(widths[0], taps))
        channels = widths[0]
        for stage, (count, width) in enumerate(zip(depth, widths, strict=True), 1):
            blocks = []
            for block in range(count):
                blocks.append(
                    Block(channels, width, 2 if stage > 1 and block == 0 else 1, expansion, taps=taps, **inner)
                )
                channels = width * expansion
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


class VGG(nn.Module):
    def __init__(self, depth, widths, dense_widths, normalised, num_classes):
        super().__init__()
        layers, channels = [], 3
        for count, width in zip(depth, widths, strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), *[nn.BatchNorm2d(width)] * normalised, nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            *(nn.Linear(channels * 7 * 7, dense_widths[0]), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(*dense_widths), nn.ReLU(), nn.Dropout()),
            nn.Linear(dense_widths[1], num_classes),
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def randomised(network):
    """Everything that is learned or counted away from where it starts, so that no two of them can be exchanged."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value.fill_(3)
        elif name.endswith("filt"):
            continue
        elif value.ndim > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        elif name.endswith(("bn1.weight", "running_var")) or "weight" in name:
            value.uniform_(0.5, 1.5, generator=generator)
        else:
            value.normal_(0, 0.3, generator=generator)
    return network.eval()


def images_like(shape):
    return np.random.default_rng(0).uniform(size=shape).astype(np.float32)


def standardised(images):
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (pixels - mean[:, None, None]) / std[:, None, None]


RESNET18 = dict(depth=(2, 2, 2, 2), widths=(64, 128, 256, 512))
NARROW = dict(depth=(2, 1, 1, 1), widths=(4, 6, 8, 10))
WIDER = dict(depth=(2, 1, 1, 1), widths=(16, 24, 32, 40))
ALEXNET = dict(widths=(4, 6, 8, 5, 7), dense_widths=(12, 11))
VGG11 = dict(widths=(3, 4, 5, 6, 7), dense_widths=(9, 8))


@pytest.mark.parametrize(
    ("name", "network", "fields", "size"),
    [
        ("resnet18", lambda: ResNet(1, **RESNET18, num_classes=1000), {}, (96, 75)),
        ("resnet34", lambda: ResNet(1, **NARROW, num_classes=5), NARROW, (64, 64)),
        ("resnet50", lambda: ResNet(4, **NARROW, num_classes=5), NARROW, (71, 66)),
        (
            "resnext50_32x4d",
            lambda: ResNet(4, **WIDER, groups=4, per_group=24, num_classes=5),
            dict(groups=4, width_per_group=24, **WIDER),
            (64, 71),
        ),
        ("wide_resnet50_2", lambda: ResNet(4, **NARROW, per_group=128, num_classes=5), NARROW, (64, 64)),
        ("resnet18_lpf4", lambda: ResNet(1, **NARROW, taps=4, num_classes=5), NARROW, (75, 96)),
        ("resnet50_lpf4", lambda: ResNet(4, **NARROW, taps=3, num_classes=5), dict(taps=3, **NARROW), (64, 82)),
        ("alexnet", lambda: AlexNet(**ALEXNET, num_classes=5), ALEXNET, (224, 224)),
        ("vgg11", lambda: VGG((1, 1, 2, 2, 2), **VGG11, normalised=False, num_classes=5), VGG11, (224, 224)),
        ("vgg16_bn", lambda: VGG((2, 2, 3, 3, 3), **VGG11, normalised=True, num_classes=5), VGG11, (224, 224)),
    ],
)
def test_logits_and_files_are_pytorchs(name, network, fields, size, tmp_path):
    network = randomised(network())
    state = network.state_dict()
    safetensors_torch.save_file(state, tmp_path / "a.safetensors")
    model, variables = models.load_weights(name, tmp_path / "a.safetensors", **fields)

    images = images_like((2, *size, 3))
    with torch.no_grad():
        theirs = network(standardised(images)).numpy()
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-2 * np.abs(theirs).max(), "the logits must depend on the images"
    ours, _ = jax.jit(model.apply)(variables, images)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())

    models.save_weights(name, tmp_path / "b.safetensors", variables, **fields)
    written = safetensors_torch.load_file(tmp_path / "b.safetensors")
    assert written.keys() == state.keys()
    for key, value in state.items():
        expected = torch.zeros_like(value) if key.endswith("num_batches_tracked") else value
        assert written[key].dtype == value.dtype
        assert torch.equal(written[key], expected), key
    network.load_state_dict(written, strict=True)


@pytest.mark.parametrize(
    "keep",
    [
        lambda network: network.state_dict(),
        lambda network: {"epoch": 3, "state_dict": network.state_dict(), "args": argparse.Namespace(lr=0.1)},
        lambda network: {"model": network.state_dict(), "optimizer": {"state": {}}},
        lambda network: {"model": network},
        lambda network: {"state_dict": nn.DataParallel(network).state_dict()},
        lambda network: network,
        lambda network: network.to(memory_format=torch.channels_last).state_dict(),
    ],
    ids=["weights", "state_dict", "model", "a module in model", "parallel", "module", "channels last"],
)
def test_the_way_to_convert_a_pickle_works(keep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = randomised(ResNet(1, **NARROW, num_classes=5))
    torch.save(keep(network), "a.pth")
    with pytest.raises(InputError) as error:
        models.load_weights("resnet18", "a.pth", **NARROW)
    _, *lines = str(error.value).splitlines()
    exec("\n".join(lines), {})
    _, variables = models.load_weights("resnet18", "a.converted.safetensors", **NARROW)
    np.testing.assert_array_equal(variables["params"]["logits"]["bias"], network.fc.bias.detach().numpy())
    kernel = np.moveaxis(network.conv1.weight.detach().numpy(), (0, 1), (-1, -2))
    np.testing.assert_array_equal(variables["params"]["conv1"]["conv"]["kernel"], kernel)
