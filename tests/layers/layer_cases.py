"""Maps, and variables of the shapes that a layer asks for, drawn by NumPy: no random initialiser to compile."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Threefry's programs take longer to compile than what is tested here.
KEY = jax.random.key(0, impl="rbg")


def draw(*shape, seed=1, dtype=np.float32):
    """Independent normal values."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def drawn_variables(layer, *arguments, positive=False, **keywords):
    """Kernels of variance 2 / fan in; scales, statistics and biases above 1/2, so that they show; or all above zero."""
    shapes = jax.eval_shape(functools.partial(layer.init, KEY, **keywords), *arguments)
    leaves, tree = jax.tree.flatten(shapes)

    def value(leaf, seed):
        drawn = np.asarray(draw(*leaf.shape, seed=seed, dtype=leaf.dtype))
        if leaf.ndim == 1:
            return jnp.asarray(np.abs(drawn) / 2 + leaf.dtype.type(0.5))
        drawn = drawn * np.sqrt(2 / np.prod(leaf.shape[:-1])).astype(leaf.dtype)
        return jnp.asarray(np.abs(drawn) if positive else drawn)

    return jax.tree.unflatten(tree, [value(leaf, seed) for seed, leaf in enumerate(leaves)])
