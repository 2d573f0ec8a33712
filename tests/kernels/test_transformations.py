import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnnjax import ops
from cnnjax.kernels.primitive import conv_p
from tests.repeats import repeated


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape), jnp.float32)


def by_lax(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"))


def loss(conv, x, kernel):
    return jnp.sum(jnp.sin(conv(x, kernel)))


def gradient(conv):
    return jax.grad(functools.partial(loss, conv), (0, 1))


X, KERNEL, DX, DKERNEL = drawn(2, 6, 7, 8), drawn(3, 3, 8, 8), drawn(2, 6, 7, 8, seed=1), drawn(3, 3, 8, 8, seed=1)
XS, KERNELS = drawn(3, 2, 6, 7, 8), drawn(3, 3, 3, 8, 8)


def hessian_vector(conv):
    def along(x, kernel):
        return sum(jnp.vdot(g, d) for g, d in zip(gradient(conv)(x, kernel), (DX, DKERNEL), strict=True))

    return jax.grad(along, (0, 1))


def with_own_gradient(conv):
    """The convolution with a gradient that is stated, itself made of convolutions and their gradients."""
    stated = jax.custom_vjp(conv)
    stated.defvjp(lambda *at: (conv(*at), at), lambda at, d: jax.vjp(conv, *at)[1](jnp.tanh(d)))
    return stated


@jax.custom_vjp
def clipped(x):
    """The identity, whose gradient is clipped."""
    return x


clipped.defvjp(lambda x: (x, None), lambda _, d: (jnp.clip(d, -0.5, 0.5),))


TRANSFORMATIONS = {
    "nothing": (lambda conv: conv, X, KERNEL),
    "an array of NumPy's": (lambda conv: lambda x: gradient(jax.vmap(conv, (0, None)))(x, np.array(KERNEL)), XS),
    "jvp": (lambda conv: lambda *at: jax.jvp(conv, at, (DX, DKERNEL)), X, KERNEL),
    "linearize": (lambda conv: lambda *at: jax.linearize(conv, *at)[1](DX, DKERNEL), X, KERNEL),
    "grad": (gradient, X, KERNEL),
    "grad of grad": (hessian_vector, X, KERNEL),
    "forward over reverse": (lambda conv: lambda *at: jax.jvp(gradient(conv), at, (DX, DKERNEL)), X, KERNEL),
    "reverse over forward": (
        lambda conv: jax.grad(lambda *at: jax.jvp(functools.partial(loss, conv), at, (DX, DKERNEL))[1], (0, 1)),
        X,
        KERNEL,
    ),
    "vmap over maps": (lambda conv: jax.vmap(gradient(conv), (0, None)), XS, KERNEL),
    "vmap over kernels": (lambda conv: jax.vmap(gradient(conv), (None, 0)), X, KERNELS),
    "vmap over both": (lambda conv: jax.vmap(gradient(conv)), XS, KERNELS),
    "grad of vmap": (lambda conv: gradient(jax.vmap(conv, (None, 0))), X, KERNELS),
    "maps in kernels": (lambda conv: jax.vmap(jax.vmap(gradient(conv), (0, None)), (None, 0)), XS, KERNELS),
    "kernels in maps": (lambda conv: jax.vmap(jax.vmap(gradient(conv), (None, 0)), (0, None)), XS, KERNELS),
    "axes elsewhere": (
        lambda conv: jax.vmap(jax.vmap(gradient(conv), (3, 2)), (0, 4), out_axes=1),
        drawn(3, 2, 6, 7, 2, 8),
        drawn(3, 3, 2, 8, 3, 8),
    ),
    "gradients of each example": (
        lambda conv: jax.vmap(lambda x, kernel: gradient(conv)(x[None], kernel), (0, None)), X, KERNEL,
    ),
    "scan": (lambda conv: lambda x, k: lax.scan(lambda s, _: (conv(s, k / 8), None), x, None, 3)[0], X, KERNEL),
    "remat": (lambda conv: gradient(jax.checkpoint(conv)), X, KERNEL),
    "custom_vjp of it": (lambda conv: gradient(with_own_gradient(conv)), X, KERNEL),
    "custom_vjp before and after it": (
        lambda conv: gradient(lambda x, kernel: clipped(conv(clipped(x), kernel))), X, KERNEL,
    ),
    "custom_vjp in remat in vmap": (
        lambda conv: jax.vmap(gradient(jax.checkpoint(with_own_gradient(conv))), (0, None)), XS, KERNEL,
    ),
}  # fmt: skip


REPRESENTATIVE = (
    *("an array of NumPy's", "jvp", "grad of grad", "vmap over both", "axes elsewhere", "scan"),
    "custom_vjp in remat in vmap",
)


@pytest.mark.parametrize("name", repeated(sorted(TRANSFORMATIONS, key=lambda n: n not in REPRESENTATIVE), quick=7))
def test_every_transformation_is_that_of_lax(name):
    transform, *at = TRANSFORMATIONS[name]
    ours, theirs = (jax.jit(transform(conv)) for conv in (ops.conv, by_lax))
    text = ours.lower(*at).as_text()
    assert "cnnjax_conv4" in text
    assert "stablehlo.convolution" not in text
    for got, expected in zip(jax.tree.leaves(ours(*at)), jax.tree.leaves(theirs(*at)), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize("name", ["nothing", "grad"])
def test_eager_and_with_jit_disabled(name):
    transform, *at = TRANSFORMATIONS[name]
    expected = jax.tree.leaves(jax.jit(transform(ops.conv))(*at))
    with jax.disable_jit():
        unjitted = transform(ops.conv)(*at)
    for made in (transform(ops.conv)(*at), unjitted):
        for got, want in zip(jax.tree.leaves(made), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-5 * float(jnp.abs(want).max()))


def test_an_eager_convolution_is_compiled_once():
    ops.conv(X, KERNEL)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.interpreters.mlir, "lower_fun", None)
        ops.conv(X + 1, KERNEL)


def test_a_batch_without_maps_gives_none():
    y, (dx, dkernel) = jax.jit(lambda x, kernel: (ops.conv(x, kernel), gradient(ops.conv)(x, kernel)))(X[:0], KERNEL)
    assert (y.shape, dx.shape) == ((0, 6, 7, 8), (0, 6, 7, 8))
    np.testing.assert_array_equal(dkernel, np.zeros_like(KERNEL))


def test_no_convolution_of_the_library_is_left_out():
    jaxpr = jax.make_jaxpr(ops.conv)(X, KERNEL)
    assert [eqn.primitive for eqn in jaxpr.eqns] == [conv_p]
