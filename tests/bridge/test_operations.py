"""Operations of PyTorch, one by one, against PyTorch."""

import numpy as np
import pytest

from cnnjax import models

torch = pytest.importorskip("torch", reason="operations of PyTorch need torch")
side = pytest.importorskip("tests.bridge.torch_side", reason="operations of PyTorch need torch")
F, nn = torch.nn.functional, torch.nn

ACTIVATIONS = {
    name: getattr(F, name)
    for name in (
        *("relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "silu", "mish", "gelu", "elu", "selu", "celu"),
        *("leaky_relu", "rrelu", "softplus", "logsigmoid", "softsign", "tanhshrink", "softshrink", "hardshrink"),
        *("sigmoid", "tanh"),
    )
}
FUNCTIONS = {
    **ACTIVATIONS,
    "hardtanh from -2 to 0.5": lambda x: F.hardtanh(x, -2.0, 0.5),
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "threshold": lambda x: F.threshold(x, 0.3, -1.0),
    "gated linear unit": lambda x: F.glu(x, 1),
    "star relu": lambda x: 0.9 * F.relu(x) ** 2 - 0.4,
    "arithmetic": lambda x: torch.add(x, x * x, alpha=2) / (x.abs() + 1) - torch.rsub(x, 3) + (2 - x) % 1.5,
    "roots and powers": lambda x: torch.sqrt(x.abs()) + x.square().rsqrt() + 2**x + x.abs() ** 0.3 + torch.exp(-x),
    "floor division": lambda x: torch.div(x, 0.3, rounding_mode="floor") + torch.div(x, 0.3, rounding_mode="trunc"),
    "comparisons": lambda x: torch.where(x > 0, x, -2 * x) + (x < 0.5).float() + ((x > 0) & ~(x > 1)).to(x.dtype),
    "masked filling": lambda x: x.masked_fill(x < 0, -3.0),
    "extremes": lambda x: torch.maximum(x, -x).clamp(0.2, 0.9) + x.clamp(min=0) + x.clamp(max=0.1),
    "means and variances": lambda x: x - x.mean((2, 3), keepdim=True) + x.var(1, keepdim=True) + x.std((0,)),
    "sums of truths": lambda x: x + (x > 0).sum(1, keepdim=True),
    "norms": lambda x: F.normalize(x, dim=1) + x.norm(p=1, dim=(2, 3), keepdim=True) + x.amax(1, keepdim=True),
    "maximum with its place": lambda x: x + x.max(1, keepdim=True)[0] + x.argmin(1, keepdim=True),
    "softmax": lambda x: F.softmax(x, 1) + F.log_softmax(x, -1) + x.logsumexp(1, keepdim=True),
    "cumulative sum": lambda x: x.cumsum(2),
    "padding": lambda x: F.pad(x, (1, 2, 0, 3)) + F.pad(x, (1, 2, 3, 0), value=2.0),
    "negative padding": lambda x: F.pad(x, (-1, 2, 1, -2)),
    "padding by content": lambda x: F.pad(x, (1, 2, 3, 0), "reflect") + F.pad(x, (1, 2, 3, 0), "replicate"),
    "circular padding": lambda x: F.pad(x, (1, 2, 3, 0), "circular"),
    "rolls and flips": lambda x: torch.roll(x, (1, -2), (2, 3)) + x.flip(3) + torch.roll(x, 5),
    "slices": lambda x: x[:, 1:3, ::2, -5:] + x[:, None, 2, 1::2, 3:8],
    "joined and split": lambda x: torch.cat([*torch.split(x, 3, 1)[::-1], x.chunk(2, 2)[0].repeat(1, 1, 2, 1)], 1),
    "stacked": lambda x: torch.stack([x, 2 * x], 2).sum(1) + torch.stack(x.unbind(1), -1).mean(-1)[:, None],
    "views": lambda x: x.view(x.size(0), 2, 2, -1).transpose(1, 2).reshape(x.size(0), -1, 8).permute(0, 2, 1),
    "expansions": lambda x: x[:, :1].expand(-1, 4, -1, -1) + x.mean((2, 3))[:, :, None, None].expand_as(x),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "gathered": lambda x: x[:, torch.tensor([2, 0, 0])] + torch.gather(x, 1, (x > 0).long())[:, :3],
    "written into": lambda x: torch.slice_scatter(x, 2 * x[:, 1:3], 1, 1, 3),
    "windows as an axis": lambda x: x.unfold(2, 3, 2).mean(-1),
    "products": lambda x: x @ x.transpose(2, 3) + torch.einsum("bchw,bdhw->bcd", x, x).sum((1, 2))[:, None, None, None],
    "causal attention": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "masked attention": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(10, 10).tril() > 0),
    "ranges": lambda x: x + torch.arange(10) + torch.linspace(0, 1, 10)[:, None] + torch.eye(10) + x.new_ones(10),
    "local response normalisation": lambda x: F.local_response_norm(x, 3),
    "group normalisation": lambda x: F.group_norm(x, 2) + F.layer_norm(x, x.shape[1:]),
    "instance normalisation": lambda x: F.instance_norm(x),
    "rms normalisation": lambda x: F.rms_norm(x, (10,)),
    "max pooling": lambda x: F.max_pool2d(x, 3, 2, 1) + F.max_pool2d(x, (3, 2), 2, (1, 0), dilation=1)[:, :, :5, :5],
    "dilated max pooling": lambda x: F.max_pool2d(x, 3, 1, 0, 2),
    "max pooling in ceil mode": lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    "average pooling": lambda x: F.avg_pool2d(x, 3, 2, 1) + F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "average pooling in ceil mode": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "average pooling by a divisor": lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    "adaptive pooling": lambda x: F.adaptive_avg_pool2d(x, (3, 5)) + F.adaptive_max_pool2d(x, (3, 5)),
    "adaptive pooling to more": lambda x: F.adaptive_avg_pool2d(x, (12, None)),
    "pooling of signals": lambda x: F.avg_pool1d(F.max_pool1d(x.flatten(2), 3, 2), 2) + 0,
    "nearest": lambda x: F.interpolate(x, scale_factor=2.0) + F.interpolate(x, (20, 20), mode="nearest-exact"),
    "nearest to fewer": lambda x: F.interpolate(x, (7, 4)) + F.interpolate(x, (7, 4), mode="nearest-exact"),
    "bilinear": lambda x: F.interpolate(x, (7, 13), mode="bilinear") + F.interpolate(x, (7, 13), mode="bicubic"),
    "bilinear by a factor": lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
    "corners aligned": lambda x: sum(
        F.interpolate(x, (7, 13), mode=mode, align_corners=True) for mode in ("bilinear", "bicubic")
    ),
    "antialiased to fewer": lambda x: sum(
        F.interpolate(x, (4, 7), mode=mode, antialias=True) for mode in ("bilinear", "bicubic")
    ),
    "antialiased to more": lambda x: sum(
        F.interpolate(x, (15, 12), mode=mode, antialias=True) for mode in ("bilinear", "bicubic")
    ),
    "interpolation of signals": lambda x: F.interpolate(x.flatten(2), 33, mode="linear") + 0,
}
LAYERS = {
    "strided, dilated, in groups": lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), groups=2),
    "same": lambda: nn.Conv2d(4, 4, (3, 4), padding="same"),
    "circular": lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, (3, 2), 2, (1, 0), (1, 0), groups=2),
    "transposed and dilated": lambda: nn.ConvTranspose2d(4, 3, 3, 3, 1, 2, dilation=2),
    "of signals": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 6, 5, 2, 1), nn.ConvTranspose1d(6, 3, 3, 2)),
    "prelu": lambda: nn.PReLU(4),
    "batch normalisation without scale": lambda: nn.BatchNorm2d(4, affine=False),
    "group normalisation": lambda: nn.GroupNorm(2, 4),
    "instance normalisation": lambda: nn.InstanceNorm2d(4, affine=True),
    "instance normalisation with statistics": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    "local response": lambda: nn.LocalResponseNorm(3),
    "embedding": lambda: Embedding(),
}


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.linear = nn.Embedding(3, 10), nn.Linear(10, 4)

    def forward(self, x):
        y = self.table((x > 0.3).long() + (x > 0.6).long())
        return self.linear(y.mean((1, 2)))


class Function(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)


def apart(module):
    # Both signs, which only the mean and the deviation make of pixels.
    images = side.pixels(3, size=10, channels=4)
    forward, variables = models.from_torch(module, (10, 10, 4), mean=(0.5,), std=(0.25,))
    (expected, _), (ours, _) = side.results(module, (images - 0.5) / 0.25), forward(variables, images)
    return side.difference(ours, expected.numpy())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_gives_what_pytorch_gives(function):
    assert apart(Function(FUNCTIONS[function])) < 1e-5


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_gives_what_pytorch_gives(layer):
    assert apart(side.drawn(LAYERS[layer])) < 1e-5


def test_one_dimensional_results_and_scalars_are_arrays():
    forward, variables = models.from_torch(Function(lambda x: x.mean()), (10, 10, 4))
    images = side.pixels(2, size=10, channels=4)
    np.testing.assert_allclose(forward(variables, images)[0], images.mean(), rtol=1e-5)
