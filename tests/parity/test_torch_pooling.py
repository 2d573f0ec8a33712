import jax
import numpy as np
import pytest

from cnnjax import ops

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
