"""JAX's checks of derivatives against finite differences, on one compiled program instead of six."""

import jax
import numpy as np
from jax.test_util import check_jvp, check_vjp


def check_gradients(f, args, **tolerances):
    """Forward and reverse derivatives of f at args, in one direction that is drawn, as `jax.test_util.check_grads`."""

    @jax.jit
    def program(primals, tangents, cotangents):
        return *jax.jvp(f, primals, tangents), jax.vjp(f, *primals)[1](cotangents)

    args = tuple(args)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(f, *args))

    def value(*primals):
        return program(primals, args, zeros)[0]

    def vjp(*primals):
        return value(*primals), lambda cotangents: program(primals, args, cotangents)[2]

    check_jvp(value, lambda primals, tangents: program(primals, tangents, zeros)[:2], args, **tolerances)
    check_vjp(value, vjp, args, **tolerances)
