import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
F = torch.nn.functional


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


def to_torch(x, *, leaf=False):
    """(batch, *space, channels) to (batch, channels, *space)."""
    return torch.from_numpy(np.moveaxis(np.asarray(x), -1, 1).copy()).requires_grad_(leaf)


def from_torch(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


def few_values(shape, seed=0):
    """Small integers: nearly every window holds its maximum more than once."""
    return np.random.default_rng(seed).integers(0, 3, size=shape).astype(np.float32)


def places_in_map(switches, input_size, window, stride, padding):
    """PyTorch's indices: the number of the position in the unpadded map, in row-major order."""
    inside = np.unravel_index(np.asarray(switches), window)
    places = []
    for axis, j in enumerate(inside, start=1):
        number = np.arange(switches.shape[axis]).reshape([-1 if a == axis else 1 for a in range(switches.ndim)])
        places.append(stride[axis - 1] * number + j - padding)
    return np.ravel_multi_index(places, input_size)


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [
        ((9,), (3,), (2,), 1),
        ((8,), (2,), (2,), 0),
        ((8, 6), (2, 2), (2, 2), 0),
        ((9, 7), (3, 3), (2, 2), 0),
        ((8, 8), (3, 3), (2, 2), 1),
        ((7, 8), (2, 3), (3, 1), 1),
    ],
)
def test_switches_and_unpooling(size, window, stride, padding):
    x = few_values((2, *size, 3))
    rank = len(size)
    values, indices = getattr(F, f"max_pool{rank}d")(to_torch(x), window, stride, padding, return_indices=True)
    cotangent = few_values(from_torch(values).shape, seed=1)

    @jax.jit
    def program(x, cotangent):
        options = {"window": window, "stride": stride, "padding": padding}
        y, pull, switches = jax.vjp(lambda x: ops.max_pool_with_switches(x, **options), x, has_aux=True)
        overwritten = ops.max_unpool(cotangent, switches, input_size=size, **options, overlap="overwrite")
        added = ops.max_unpool(cotangent, switches, input_size=size, **options)
        return y, switches, pull(cotangent)[0], added, overwritten

    y, switches, gradient, added, overwritten = program(x, cotangent)
    np.testing.assert_array_equal(y, from_torch(values))
    np.testing.assert_array_equal(places_in_map(switches, size, window, stride, padding), from_torch(indices))

    leaf = to_torch(x, leaf=True)
    getattr(F, f"max_pool{rank}d")(leaf, window, stride, padding).backward(to_torch(cotangent))
    np.testing.assert_array_equal(gradient, from_torch(leaf.grad))
    np.testing.assert_array_equal(added, from_torch(leaf.grad))
    # On one thread PyTorch stores one value after the other, so that the last one stays.
    theirs = getattr(F, f"max_unpool{rank}d")(to_torch(cotangent), indices, window, stride, padding, output_size=size)
    np.testing.assert_array_equal(overwritten, from_torch(theirs))


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"), [((9,), 3, 2, 1), ((8, 6), 2, 2, 0), ((9, 7), 3, 2, 1)]
)
def test_avg_unpool_is_the_gradient_of_their_mean(size, window, stride, padding):
    leaf = torch.zeros((2, 3, *size), requires_grad=True)
    y = getattr(F, f"avg_pool{len(size)}d")(leaf, window, stride, padding)
    cotangent = few_values(from_torch(y).shape)
    y.backward(to_torch(cotangent))
    ours = jax.jit(lambda y: ops.avg_unpool(y, window, input_size=size, stride=stride, padding=padding))(cotangent)
    np.testing.assert_allclose(ours, from_torch(leaf.grad), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("p", "size", "window", "stride"),
    [
        (1, (9,), 3, 2),
        (1.5, (8, 6), (2, 3), None),
        (2, (7, 7), (3, 3), 1),
        (2, (8, 6), (2, 3), None),
        (3, (7, 7), (3, 3), 1),
        (4, (9,), 3, 2),
    ],
)
def test_lp_pool_of_positive_maps(p, size, window, stride):
    # PyTorch takes the power of the value, not of its magnitude.
    x = np.random.default_rng(0).uniform(0.1, 1, size=(2, *size, 3)).astype(np.float32)
    leaf = to_torch(x, leaf=True)
    theirs = getattr(F, f"lp_pool{len(size)}d")(leaf, p, window, stride)
    cotangent = few_values(from_torch(theirs).shape)
    theirs.backward(to_torch(cotangent))
    y, gradient = jax.jit(
        lambda x, ct: (lambda y, pull: (y, pull(ct)[0]))(
            *jax.vjp(lambda x: ops.lp_pool(x, window, p=p, stride=stride), x)
        )
    )(x, cotangent)
    np.testing.assert_allclose(y, from_torch(theirs), rtol=1e-5)
    np.testing.assert_allclose(gradient, from_torch(leaf.grad), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("taps", "before", "after"), [(2, 0, 1), (3, 1, 1), (4, 1, 2), (5, 2, 2)])
@pytest.mark.parametrize("padding", ["circular", "reflect"])
def test_blur_pool_is_a_depthwise_convolution(taps, before, after, padding):
    x = np.random.default_rng(0).normal(size=(2, 8, 7, 3)).astype(np.float32)
    row = torch.from_numpy((np.poly1d([0.5, 0.5]) ** (taps - 1)).coeffs.astype(np.float32))
    kernel = torch.outer(row, row).expand(3, 1, taps, taps)
    wide = F.pad(to_torch(x), (before, after, before, after), mode=padding)
    y = jax.jit(lambda x: ops.blur_pool(x, taps=taps, padding=padding))(x)
    np.testing.assert_allclose(y, from_torch(F.conv2d(wide, kernel, stride=2, groups=3)), atol=1e-6)


@st.composite
def pools(draw, *, dilated=False, padded=True):
    """A size, and PyTorch's arguments of a pool that fit it: padding is at most half of the window."""
    rank = draw(st.integers(1, 2))
    window = draw(st.tuples(*[st.integers(1, 4)] * rank))
    dilation = draw(st.tuples(*[st.integers(1, 3)] * rank)) if dilated else (1,) * rank
    padding = tuple(draw(st.integers(0, k // 2)) if padded else 0 for k in window)
    stride = draw(st.tuples(*[st.integers(1, 5)] * rank))
    spans = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    # With `ceil_mode` a window may exceed the map, by less than the stride.
    least = [max(span - 2 * p - s + 1, 1) for span, p, s in zip(spans, padding, stride, strict=True)]
    size = tuple(draw(st.integers(n, n + 9)) for n in least)
    return size, {"window": window, "stride": stride, "padding": padding, "dilation": dilation}


def compare(ours, theirs, x, **tolerance):
    """Values and gradients alike, or refused by both; a window beside the map, −∞ in PyTorch, is refused here."""
    leaf = to_torch(x, leaf=True)
    try:
        expected = theirs(leaf)
    except RuntimeError:
        expected = None
    if expected is None or bool(torch.isinf(expected).any()):
        with pytest.raises(InputError, match=r"the window spans|nothing but padding"):
            ours(jax.numpy.asarray(x))
        return
    cotangent = few_values(from_torch(expected).shape, seed=1)
    expected.backward(to_torch(cotangent))
    y, gradient = jax.jit(lambda x, ct: (ours(x), jax.vjp(ours, x)[1](ct)[0]))(x, cotangent)
    np.testing.assert_allclose(y, from_torch(expected), **tolerance)
    np.testing.assert_allclose(gradient, from_torch(leaf.grad), **tolerance)


@given(case=pools(dilated=True), ceil_mode=st.booleans())
@drawn_cases(12)
def test_max_pools_with_dilation_and_ceil_mode(case, ceil_mode):
    size, options = case
    pairs = tuple((p, p) for p in options["padding"])
    ours = functools.partial(ops.max_pool, **{**options, "padding": pairs}, ceil_mode=ceil_mode)
    theirs = getattr(F, f"max_pool{len(size)}d")
    compare(ours, lambda x: theirs(x, *options.values(), ceil_mode=ceil_mode), few_values((2, *size, 2)), rtol=0)


@given(case=pools(), ceil_mode=st.booleans(), count_include_pad=st.booleans())
@drawn_cases(12)
def test_means_that_count_padding_or_not(case, ceil_mode, count_include_pad):
    size, options = case
    window, stride, padding, _ = options.values()
    modes = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    pairs = tuple((p, p) for p in padding)
    ours = functools.partial(ops.avg_pool, window=window, stride=stride, padding=pairs, **modes)
    theirs = getattr(F, f"avg_pool{len(size)}d")
    x = few_values((2, *size, 2))
    compare(ours, lambda x: theirs(x, window, stride, padding, **modes), x, rtol=1e-6, atol=1e-6)


@given(case=pools(padded=False), p=st.sampled_from([1, 2, 3.5]))
@drawn_cases(8)
def test_lp_pools_with_ceil_mode(case, p):
    size, options = case
    window, stride, _, _ = options.values()
    ours = functools.partial(ops.lp_pool, window=window, stride=stride, p=p, ceil_mode=True)
    theirs, kernel_size = (F.lp_pool1d, window[0]) if len(size) == 1 else (F.lp_pool2d, window)
    x = np.random.default_rng(0).uniform(0.1, 1, size=(2, *size, 2)).astype(np.float32)
    compare(ours, lambda x: theirs(x, p, kernel_size, stride, ceil_mode=True), x, rtol=1e-4, atol=1e-6)


def test_a_window_of_ceil_mode_that_would_start_in_the_padding_is_left_out():
    # Four positions with one before and after: a window of 1 in steps of 3 starts at −1, 2 and, in the padding, 5.
    x, options = few_values((1, 4, 1)) + 1, {"stride": 3, "ceil_mode": True}
    theirs = F.avg_pool1d(to_torch(x), 2, 3, 1, ceil_mode=True)
    assert ops.output_size(4, 2, padding=((1, 1),), **options) == theirs.shape[-1] == 2
    np.testing.assert_array_equal(ops.avg_pool(jax.numpy.asarray(x), 2, padding=1, **options), from_torch(theirs))


@pytest.mark.parametrize(("dilation", "ceil_mode"), [(2, False), (1, True), (2, True)])
def test_switches_and_unpooling_with_dilation_and_ceil_mode(dilation, ceil_mode):
    size, (window, stride, padding) = (8, 7), (3, 2, 1)
    x = few_values((2, *size, 2))
    values, indices = F.max_pool2d(
        to_torch(x), window, stride, padding, dilation, ceil_mode=ceil_mode, return_indices=True
    )
    options = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    y, switches = jax.jit(lambda x: ops.max_pool_with_switches(x, window, **options))(x)
    np.testing.assert_array_equal(y, from_torch(values))
    leaf = to_torch(x, leaf=True)
    F.max_pool2d(leaf, window, stride, padding, dilation, ceil_mode=ceil_mode).backward(values)
    np.testing.assert_array_equal(
        ops.max_unpool(y, switches, input_size=size, window=window, **options), from_torch(leaf.grad)
    )
    rows, columns = np.unravel_index(np.asarray(switches), (window, window))
    rows = rows * dilation + stride * np.arange(y.shape[1])[None, :, None, None] - padding
    columns = columns * dilation + stride * np.arange(y.shape[2])[None, None, :, None] - padding
    np.testing.assert_array_equal(rows * size[1] + columns, from_torch(indices))


@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_unpool_is_the_gradient_of_either_mean(count_include_pad):
    leaf, options = torch.zeros((2, 3, 8, 7), requires_grad=True), {"count_include_pad": count_include_pad}
    y = F.avg_pool2d(leaf, 3, 2, 1, ceil_mode=True, **options)
    cotangent = few_values(from_torch(y).shape)
    y.backward(to_torch(cotangent))
    options = {"input_size": (8, 7), "stride": 2, "padding": 1, "ceil_mode": True, **options}
    ours = jax.jit(lambda y: ops.avg_unpool(y, 3, **options))(cotangent)
    np.testing.assert_allclose(ours, from_torch(leaf.grad), rtol=1e-6, atol=1e-6)
