"""Both AlexNets against PyTorch modules written here from the paper and from the libraries' table, weights copied."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import models

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
nn = torch.nn


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


class TowerNorm(nn.Module):
    """Response normalisation of each tower. PyTorch's alpha multiplies the mean over 5 channels, ours the sum."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

    def forward(self, x):
        return torch.cat([self.norm(tower) for tower in x.chunk(2, dim=1)], dim=1)


class TorchAlexNet(nn.Module):
    def __init__(self, widths, dense_widths, *, towers, flat, num_classes):
        super().__init__()
        a, b, c, d, e = widths
        norm = TowerNorm if towers == 2 else nn.Identity
        self.conv1 = nn.Conv2d(3, a, 11, 4, 2)
        self.conv2 = nn.Conv2d(a, b, 5, padding=2, groups=towers)
        self.conv3 = nn.Conv2d(b, c, 3, padding=1)
        self.conv4 = nn.Conv2d(c, d, 3, padding=1, groups=towers)
        self.conv5 = nn.Conv2d(d, e, 3, padding=1, groups=towers)
        self.fc6 = nn.Linear(flat * e, dense_widths[0])
        self.fc7 = nn.Linear(*dense_widths)
        self.logits = nn.Linear(dense_widths[1], num_classes)
        self.norm, self.pool, self.relu = norm(), nn.MaxPool2d(3, 2), nn.ReLU()

    def forward(self, x):
        x = (x - 0.5) * 255
        x = self.pool(self.norm(self.relu(self.conv1(x))))
        x = self.pool(self.norm(self.relu(self.conv2(x))))
        x = self.relu(self.conv5(self.relu(self.conv4(self.relu(self.conv3(x))))))
        x = self.pool(x).flatten(1)
        return self.logits(self.relu(self.fc7(self.relu(self.fc6(x)))))

    def start(self):
        """Kernels that keep the scale of what they read, so that every layer matters."""
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
            parameter.data.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        return self


def copied(value, name, maps):
    """A parameter of PyTorch's as it lies here, where fc6 reads (height, width, channels), there the channels first."""
    value = value.detach().numpy()
    if name == "fc6" and value.ndim == 2:
        return value.reshape(len(value), -1, *maps).transpose(2, 3, 1, 0).reshape(-1, len(value))
    return np.moveaxis(value, (0, 1), (-1, -2)) if value.ndim > 1 else value


NAMES = {"weight": "kernel", "bias": "bias"}
# 95×127 pixels leave 2×3 positions to fc6, so their order shows.
SIZE, MAPS = (95, 127), (2, 3)


@pytest.mark.parametrize(
    ("make", "widths"), [(models.AlexNet, (12, 16, 12, 12, 8)), (models.alexnet_one_tower, (6, 10, 12, 8, 7))]
)
def test_logits_and_gradients_are_pytorchs(make, widths):
    model = make(num_classes=5, widths=widths, dense_widths=(14, 12))
    theirs = TorchAlexNet(widths, (14, 12), towers=model.towers, flat=6, num_classes=5).start()
    params = {}
    for path, parameter in theirs.named_parameters():
        layer, name = path.split(".")
        params.setdefault(layer, {})[NAMES[name]] = copied(parameter, layer, MAPS)
    images = np.random.default_rng(0).random((2, *SIZE, 3), np.float32)

    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).requires_grad_()
    expected = theirs(pixels)
    nn.functional.cross_entropy(expected, torch.tensor([1, 3])).backward()

    def loss(params, images):
        logits, _ = model.apply({"params": params}, images)
        return -jax.nn.log_softmax(logits)[jnp.arange(2), jnp.array([1, 3])].mean(), logits

    (_, logits), (gradients, to_images) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(
        params, jnp.asarray(images)
    )
    expected = expected.detach().numpy()
    assert np.abs(expected[0] - expected[1]).max() > 0.01 * np.abs(expected).max(), "logits must depend on the images"
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    for path, parameter in theirs.named_parameters():
        layer, name = path.split(".")
        gradient = copied(parameter.grad, layer, MAPS)
        assert np.abs(gradient).max() > 0, path
        np.testing.assert_allclose(
            gradients[layer][NAMES[name]], gradient, rtol=0, atol=1e-4 * np.abs(gradient).max(), err_msg=path
        )
    gradient = pixels.grad.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(to_images, gradient, rtol=0, atol=1e-4 * np.abs(gradient).max())
