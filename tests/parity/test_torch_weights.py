"""Files of weights against PyTorch: networks written here with torchvision's names, and the logits that they give."""

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


class Block(nn.Module):
    """A basic block where `expansion` is 1, else a bottleneck with its stride in the 3×3 convolution."""

    def __init__(self, channels, width, stride, expansion):
        super().__init__()
        features = width * expansion
        if expansion == 1:
            sizes = [(channels, width, 3, stride), (width, width, 3, 1)]
        else:
            sizes = [(channels, width, 1, 1), (width, width, 3, stride), (width, features, 1, 1)]
        self.count = len(sizes)
        for number, (inputs, outputs, size, step) in enumerate(sizes, 1):
            setattr(self, f"conv{number}", nn.Conv2d(inputs, outputs, size, step, size // 2, bias=False))
            setattr(self, f"bn{number}", nn.BatchNorm2d(outputs))
        self.downsample = nn.Identity()
        if stride > 1 or channels != features:
            projection = nn.Conv2d(channels, features, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(features))

    def forward(self, x):
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = torch.relu(y) if number < self.count else y
        return torch.relu(y + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self, expansion, depth, widths, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.pool = nn.MaxPool2d(3, 2, 1)
        channels = widths[0]
        for stage, (count, width) in enumerate(zip(depth, widths, strict=True), 1):
            blocks = []
            for block in range(count):
                blocks.append(Block(channels, width, 2 if stage > 1 and block == 0 else 1, expansion))
                channels = width * expansion
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


def randomised(network):
    """Everything that is learned or counted away from where it starts, so that no two of them can be exchanged."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value.fill_(3)
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
ALEXNET = dict(widths=(4, 6, 8, 5, 7), dense_widths=(12, 11))


@pytest.mark.parametrize(
    ("name", "network", "fields", "size"),
    [
        ("resnet18", lambda: ResNet(1, **RESNET18, num_classes=1000), {}, (96, 75)),
        ("resnet34", lambda: ResNet(1, **NARROW, num_classes=5), NARROW, (64, 64)),
        ("resnet50", lambda: ResNet(4, **NARROW, num_classes=5), NARROW, (71, 66)),
        ("alexnet", lambda: AlexNet(**ALEXNET, num_classes=5), ALEXNET, (224, 224)),
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


def test_the_way_to_convert_a_pickle_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = randomised(ResNet(1, **NARROW, num_classes=5))
    torch.save(network.state_dict(), "a.pth")
    with pytest.raises(InputError) as error:
        models.load_weights("resnet18", "a.pth", **NARROW)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    exec("\n".join(lines[1:]), {})
    _, variables = models.load_weights("resnet18", "a.converted.safetensors", **NARROW)
    np.testing.assert_array_equal(variables["params"]["logits"]["bias"], network.fc.bias.detach().numpy())
