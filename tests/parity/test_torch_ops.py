import jax
import numpy as np
import pytest

from cnnjax import ops

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
F = torch.nn.functional


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


def to_torch(x, *, leaf=True):
    """(batch, *space, channels) to (batch, channels, *space)."""
    return torch.from_numpy(np.moveaxis(np.asarray(x), -1, 1).copy()).requires_grad_(leaf)


def from_torch(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def compare(op, theirs, x, *weights):
    """Value and gradients of one program against those of the other, under the same random cotangent."""
    x_torch = to_torch(x)
    w_torch = [torch.from_numpy(np.moveaxis(w, (-1, -2), (0, 1)).copy()).requires_grad_() for w in weights]
    y_torch = theirs(x_torch, *w_torch)
    cotangent = draw(from_torch(y_torch).shape, seed=9)
    y_torch.backward(to_torch(cotangent, leaf=False))

    @jax.jit
    def program(cotangent, *arrays):
        y, pull = jax.vjp(op, *arrays)
        return y, pull(cotangent)

    y, gradients = program(cotangent, x, *weights)
    np.testing.assert_allclose(y, from_torch(y_torch), atol=3e-5)
    np.testing.assert_allclose(gradients[0], from_torch(x_torch.grad), atol=3e-5)
    for ours, w in zip(gradients[1:], w_torch, strict=True):
        np.testing.assert_allclose(ours, np.moveaxis(w.grad.numpy(), (0, 1), (-1, -2)), atol=1e-4)


@pytest.mark.parametrize(("size", "dilation"), [((3, 3), 1), ((3, 5), 2), ((2, 4), 2)])
def test_same_is_torchs_same_at_stride_1(size, dilation):
    compare(
        lambda x, w: ops.conv(x, w, padding="same", dilation=dilation),
        lambda x, w: F.conv2d(x, w, padding="same", dilation=dilation),
        draw((1, 9, 9, 2)),
        draw((*size, 2, 3), seed=1),
    )


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize(
    ("rank", "window", "stride", "padding"),
    [(1, 2, None, 0), (1, 3, 2, 1), (2, 3, None, 0), (2, 3, 2, 1), (2, 3, 1, 1), (2, 2, 3, 0), (2, 2, None, 1)],
)
def test_pools_with_ties_between_the_maxima(kind, rank, window, stride, padding):
    # Small integers: nearly every window holds its maximum more than once.
    x = np.random.default_rng(3).integers(0, 3, size=(2, *(8, 7)[:rank], 3)).astype(np.float32)
    ours = {"max": ops.max_pool, "avg": ops.avg_pool}[kind]
    theirs = getattr(F, f"{kind}_pool{rank}d")
    compare(
        lambda x: ours(x, window, stride=stride, padding=padding),
        lambda x: theirs(x, window, stride=stride, padding=padding),
        x,
    )


def test_global_pools():
    x = np.random.default_rng(3).integers(0, 3, size=(2, 4, 6, 3)).astype(np.float32)
    for ours, theirs in (
        (ops.global_max_pool, lambda x: F.max_pool2d(x, (4, 6)).flatten(1)),
        (ops.global_avg_pool, lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1)),
    ):
        compare(ours, theirs, x)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("order", "interpolation"), [(1, "bilinear"), (0, "nearest")])
def test_rotate_is_an_affine_grid_sample(size, order, interpolation):
    x = draw((4, size, size, 2))
    degrees = np.asarray([11.3, -37.7, 101.9, 200.2], np.float32)

    def theirs(x):
        angle = torch.deg2rad(torch.tensor(degrees.tolist()))
        zero = torch.zeros_like(angle)
        # PyTorch's coordinates are (x, y) = (column, row).
        matrix = torch.stack(
            [torch.cos(angle), -torch.sin(angle), zero, torch.sin(angle), torch.cos(angle), zero], -1
        ).reshape(-1, 2, 3)
        grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, mode=interpolation, padding_mode="zeros", align_corners=False)

    compare(lambda x: ops.rotate(x, degrees, order=order), theirs, x)


@pytest.mark.parametrize(("row", "column"), [(-2, 4), (3, -1)])
def test_circular_shift_is_torchs_roll(row, column):
    compare(
        lambda x: ops.shift(x, (row, column), fill="circular"),
        lambda x: torch.roll(x, (row, column), (2, 3)),
        draw((2, 5, 6, 2)),
    )
