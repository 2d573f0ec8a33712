"""Convolution and its transpose against PyTorch in float64: drawn configurations, values and gradients."""

import functools

import jax
import numpy as np
import pytest

from cnnjax import ops

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
F = torch.nn.functional

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d}

close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-12)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


def to_torch(x):
    """(batch, *space, channels) to (batch, channels, *space)."""
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy()).requires_grad_()


def from_torch(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


def kernel_to_torch(kernel):
    """(*window, in, out) to (out, in, *window), for a convolution and for its transpose alike."""
    return torch.from_numpy(np.moveaxis(kernel, (-1, -2), (0, 1)).copy()).requires_grad_()


def kernel_from_torch(kernel):
    return np.moveaxis(kernel.numpy(), (0, 1), (-1, -2))


def draw(random, number, paddings):
    """A map, a kernel and the options of `conv`: ordinary, grouped and depthwise, with several outputs per input.

    As paddings are not a multiple of four, every one of them meets every kind of group as the numbers go on.
    """
    rank = random.integers(1, 3)
    stride, dilation, window = (tuple(map(int, random.integers(1, top + 1, rank))) for top in (3, 2, 4))
    groups, per_in, per_out = [(1, 3, 2), (2, 2, 1), (4, 1, 1), (3, 1, 2)][number % 4]
    # At least one window wide, which is enough for every padding.
    size = (d * (k - 1) + 1 + int(random.integers(5)) for d, k in zip(dilation, window, strict=True))
    x = random.normal(size=(2, *size, groups * per_in))
    kernel = random.normal(size=(*window, per_in, groups * per_out))
    padding = paddings[number % len(paddings)]
    return x, kernel, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def conv_in_torch(x, kernel, *, padding, dilation, **options):
    """Convolution over a border that `torch.nn.functional.pad` has made."""
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[2:], strict=True)]
    amounts = {
        "valid": lambda span: (0, 0),
        "full": lambda span: (span - 1, span - 1),
        **dict.fromkeys(("same", "circular", "reflect"), lambda span: ((span - 1) // 2, span // 2)),
    }
    mode = padding if padding in ("circular", "reflect") else "constant"
    # Pairs go from the last axis to the first.
    x = F.pad(x, [amount for span in reversed(spans) for amount in amounts[padding](span)], mode=mode)
    return CONVOLUTIONS[len(spans)](x, kernel, dilation=dilation, **options)


@pytest.mark.parametrize("seed", range(4))
def test_conv_in_ten_configurations(seed):
    random = np.random.default_rng(seed)
    paddings = [0, 1, 2, 3, "valid", "same", "full", "circular", "reflect"]
    cases = [draw(random, 10 * seed + i, paddings) for i in range(10)]
    references = []
    for x, kernel, options in cases:
        x, kernel = to_torch(x), kernel_to_torch(kernel)
        named = isinstance(options["padding"], str)
        y = conv_in_torch(x, kernel, **options) if named else CONVOLUTIONS[x.ndim - 2](x, kernel, **options)
        cotangent = torch.from_numpy(random.normal(size=y.shape))
        y.backward(cotangent)
        references.append((from_torch(y), from_torch(x.grad), kernel_from_torch(kernel.grad), from_torch(cotangent)))

    @jax.jit
    def ours(arrays):
        results = []
        for (x, kernel, cotangent), (_, _, options) in zip(arrays, cases, strict=True):
            y, vjp = jax.vjp(lambda x, kernel, options=options: ops.conv(x, kernel, **options), x, kernel)
            back = ops.conv_transpose(cotangent, kernel, input_size=x.shape[1:-1], **options)
            results.append((y, *vjp(cotangent), back))
        return results

    with jax.enable_x64(True):
        results = ours(
            [(x, kernel, cotangent) for (x, kernel, _), (*_, cotangent) in zip(cases, references, strict=True)]
        )
    for (y, to_x, to_kernel, back), (y_torch, to_x_torch, to_kernel_torch, _) in zip(results, references, strict=True):
        close(y, y_torch)
        close(to_x, to_x_torch)
        close(to_kernel, to_kernel_torch)
        close(back, to_x_torch)


@pytest.mark.parametrize("seed", range(3))
def test_conv_transpose_in_ten_configurations(seed):
    random = np.random.default_rng(100 + seed)
    cases, references = [], []
    for i in range(10):
        x, kernel, options = draw(random, 10 * seed + i, [0, 1, 2])
        size, padding, stride = x.shape[1:-1], options["padding"], options["stride"]
        spans = [d * (k - 1) + 1 for d, k in zip(options["dilation"], kernel.shape, strict=False)]
        resolution = [(n + 2 * padding - span) // s + 1 for n, span, s in zip(size, spans, stride, strict=True)]
        unread = [(n + 2 * padding - span) % s for n, span, s in zip(size, spans, stride, strict=True)]
        y = random.normal(size=(2, *resolution, kernel.shape[-1]))
        cases.append((y, kernel, x, {"input_size": size, **options}))
        y, kernel = to_torch(y), kernel_to_torch(kernel)
        back = TRANSPOSED[len(size)](y, kernel, output_padding=unread, **options)
        back.backward(to_torch(x).detach())
        references.append((from_torch(back), from_torch(y.grad), kernel_from_torch(kernel.grad)))

    @jax.jit
    def ours(arrays):
        results = []
        for (y, kernel, cotangent), (*_, options) in zip(arrays, cases, strict=True):
            x, vjp = jax.vjp(lambda y, kernel, options=options: ops.conv_transpose(y, kernel, **options), y, kernel)
            results.append((x, *vjp(cotangent)))
        return results

    with jax.enable_x64(True):
        results = ours([case[:3] for case in cases])
    jax.tree.map(close, results, references)
