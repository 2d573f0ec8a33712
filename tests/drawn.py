"""Variables of the shapes that a module asks for, drawn by NumPy: no random initialiser to compile."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Threefry's programs take longer to compile than what is tested.
KEY = jax.random.key(0, impl="rbg")


def drawn_variables(module, *arguments, positive=False, **keywords):
    """Kernels of variance 2 / fan in; scales, statistics and biases above 1/2, so that they show; or all above zero."""
    shapes = jax.eval_shape(functools.partial(module.init, KEY, **keywords), *arguments)
    leaves, tree = jax.tree.flatten(shapes)

    def value(leaf, seed):
        drawn = np.random.default_rng(seed).normal(size=leaf.shape)
        drawn = drawn * np.sqrt(2 / np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else np.abs(drawn) / 2 + 0.5
        return jnp.asarray(np.abs(drawn) if positive else drawn, leaf.dtype)

    return jax.tree.unflatten(tree, [value(leaf, seed) for seed, leaf in enumerate(leaves)])
