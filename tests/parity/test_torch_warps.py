import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_torch_ops import compare, draw

from cnnjax import ops

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
F = torch.nn.functional


def sampled(x, matrices, *, interpolation, reflect):
    """PyTorch's own grid; its coordinates are (x, y) = (column, row), mirrored about pixel centres if corners align."""
    grid = F.affine_grid(matrices, list(x.shape), align_corners=reflect)
    padding = "reflection" if reflect else "zeros"
    return F.grid_sample(x, grid, mode=interpolation, padding_mode=padding, align_corners=reflect)


@pytest.mark.parametrize("shape", [(7, 7), (8, 5)])
@pytest.mark.parametrize(("order", "interpolation"), [(1, "bilinear"), (0, "nearest")])
@pytest.mark.parametrize("mode", ["zero", "reflect"])
def test_scale_is_an_affine_grid_sample(shape, order, interpolation, mode):
    factors = np.asarray([1.37, 0.71, 0.43], np.float32)
    matrices = torch.stack([torch.tensor([[1 / f, 0, 0], [0, 1 / f, 0]]) for f in factors.tolist()])
    compare(
        lambda x: ops.scale(x, factors, fill=mode, order=order),
        lambda x: sampled(x, matrices, interpolation=interpolation, reflect=mode == "reflect"),
        draw((3, *shape, 2)),
    )


def test_gradient_in_the_factor():
    x = draw((2, 6, 6, 1))
    factors = torch.tensor([1.37, 0.71], requires_grad=True)
    cotangent = draw((2, 6, 6, 1), seed=3)
    zero = torch.zeros(2)
    matrices = torch.stack([1 / factors, zero, zero, zero, 1 / factors, zero], -1).reshape(2, 2, 3)
    theirs = sampled(torch.tensor(np.moveaxis(x, -1, 1)), matrices, interpolation="bilinear", reflect=False)
    theirs.backward(torch.tensor(np.moveaxis(cotangent, -1, 1)))
    ours = jax.jit(jax.grad(lambda f: jnp.sum(cotangent * ops.scale(jnp.asarray(x), f))))(jnp.asarray([1.37, 0.71]))
    np.testing.assert_allclose(ours, factors.grad, atol=3e-5)


@pytest.mark.parametrize(("mode", "theirs"), [("zero", "constant"), ("circular", "circular"), ("reflect", "reflect")])
@pytest.mark.parametrize(("row", "column"), [(-3, 2), (4, -1), (0, 0)])
def test_crop_is_a_slice_of_torchs_padding(mode, theirs, row, column):
    compare(
        lambda x: ops.crop(x, (row, column), size=(4, 5), fill=mode),
        lambda x: F.pad(x, (4, 4, 4, 4), mode=theirs)[:, :, row + 4 : row + 8, column + 4 : column + 9],
        draw((2, 5, 6, 2)),
    )


@pytest.mark.parametrize(("axis", "dim"), [("height", 2), ("width", 3)])
def test_flip_is_torchs(axis, dim):
    compare(lambda x: ops.flip(x, axis=axis), lambda x: torch.flip(x, (dim,)), draw((2, 5, 6, 2)))
