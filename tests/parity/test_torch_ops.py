import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

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
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def compare(op, theirs, x, *weights, jit):
    """Value and gradients of one program against those of the other, under the same random cotangent."""
    function = jax.jit(op) if jit else op
    y, pull = jax.vjp(function, x, *weights)
    cotangent = draw(y.shape, seed=9)
    gradients = pull(cotangent)
    x_torch = to_torch(x)
    w_torch = [torch.from_numpy(np.moveaxis(np.asarray(w), (-1, -2), (0, 1)).copy()).requires_grad_() for w in weights]
    y_torch = theirs(x_torch, *w_torch)
    y_torch.backward(to_torch(cotangent, leaf=False))
    np.testing.assert_allclose(y, from_torch(y_torch), atol=3e-5)
    np.testing.assert_allclose(gradients[0], from_torch(x_torch.grad), atol=3e-5)
    for ours, w in zip(gradients[1:], w_torch, strict=True):
        np.testing.assert_allclose(ours, np.moveaxis(w.grad.numpy(), (0, 1), (-1, -2)), atol=1e-4)


@given(
    case=st.sampled_from([((2, 9, 4), (3,)), ((1, 8, 2), (4,)), ((2, 7, 6, 2), (2, 3)), ((1, 8, 8, 4), (3, 3))]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.sampled_from([0, 1, 2]),
    groups=st.sampled_from([1, 2]),
    jit=st.booleans(),
)
@settings(deadline=None, max_examples=15)
def test_conv(case, stride, dilation, padding, groups, jit):
    shape, size = case
    spans = [dilation * (k - 1) + 1 for k in size]
    assume(all(span <= n + 2 * padding for span, n in zip(spans, shape[1:-1], strict=True)))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    theirs = F.conv1d if len(size) == 1 else F.conv2d
    compare(
        lambda x, w: ops.conv(x, w, **options),
        lambda x, w: theirs(x, w, **options),
        draw(shape),
        draw((*size, shape[-1] // groups, 4), seed=1),
        jit=jit,
    )


@pytest.mark.parametrize(("ours", "theirs"), [("same", "constant"), ("circular", "circular"), ("reflect", "reflect")])
@pytest.mark.parametrize("size", [(3, 2), (4, 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_borders(ours, theirs, size, stride):
    (top, bottom), (left, right) = [((k - 1) // 2, k // 2) for k in size]
    compare(
        lambda x, w: ops.conv(x, w, padding=ours, stride=stride),
        lambda x, w: F.conv2d(F.pad(x, (left, right, top, bottom), mode=theirs), w, stride=stride),
        draw((2, 6, 7, 2)),
        draw((*size, 2, 3), seed=1),
        jit=True,
    )


@pytest.mark.parametrize(("size", "dilation"), [((3, 3), 1), ((3, 5), 2), ((2, 4), 2)])
def test_same_is_torchs_same_at_stride_1(size, dilation):
    compare(
        lambda x, w: ops.conv(x, w, padding="same", dilation=dilation),
        lambda x, w: F.conv2d(x, w, padding="same", dilation=dilation),
        draw((1, 9, 9, 2)),
        draw((*size, 2, 3), seed=1),
        jit=True,
    )


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize(
    ("window", "stride", "padding"), [(2, None, 0), (3, None, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0), (2, None, 1)]
)
def test_pools_with_ties_between_the_maxima(kind, rank, window, stride, padding):
    # Small integers: nearly every window holds its maximum more than once.
    x = jnp.asarray(np.random.default_rng(3).integers(0, 3, size=(2, *(8, 7)[:rank], 3)), jnp.float32)
    ours = {"max": ops.max_pool, "avg": ops.avg_pool}[kind]
    theirs = getattr(F, f"{kind}_pool{rank}d")
    compare(
        lambda x: ours(x, window, stride=stride, padding=padding),
        lambda x: theirs(x, window, stride=stride, padding=padding),
        x,
        jit=rank == 2,
    )


def test_global_pools():
    x = jnp.asarray(np.random.default_rng(3).integers(0, 3, size=(2, 4, 6, 3)), jnp.float32)
    for ours, theirs in (
        (ops.global_max_pool, lambda x: F.max_pool2d(x, (4, 6)).flatten(1)),
        (ops.global_avg_pool, lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1)),
    ):
        compare(ours, theirs, x, jit=True)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("order", "interpolation"), [(1, "bilinear"), (0, "nearest")])
def test_rotate_is_an_affine_grid_sample(size, order, interpolation):
    x = draw((4, size, size, 2))
    degrees = jnp.asarray([11.3, -37.7, 101.9, 200.2])

    def theirs(x):
        angle = torch.deg2rad(torch.tensor(degrees.tolist()))
        zero = torch.zeros_like(angle)
        # PyTorch's coordinates are (x, y) = (column, row).
        matrix = torch.stack(
            [torch.cos(angle), -torch.sin(angle), zero, torch.sin(angle), torch.cos(angle), zero], -1
        ).reshape(-1, 2, 3)
        grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, mode=interpolation, padding_mode="zeros", align_corners=False)

    compare(lambda x: ops.rotate(x, degrees, order=order), theirs, x, jit=True)


@pytest.mark.parametrize(("row", "column"), [(-2, -1), (0, 4), (3, -1), (3, 4)])
def test_circular_shift_is_torchs_roll(row, column):
    compare(
        lambda x: ops.shift(x, (row, column), mode="circular"),
        lambda x: torch.roll(x, (row, column), (2, 3)),
        draw((2, 5, 6, 2)),
        jit=False,
    )
