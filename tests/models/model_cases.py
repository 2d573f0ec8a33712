"""Images, and variables of the shapes that a network asks for, drawn by NumPy: no random initialiser to compile."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

KEY = jax.random.key(0, impl="rbg")  # whose draws compile faster


def pixels(*shape, seed=1, dtype=np.float32):
    """Independent uniform values in [0, 1]."""
    return jnp.asarray(np.random.default_rng(seed).random(shape), dtype)


def drawn_variables(model, images, **keywords):
    """Kernels of variance 2 / fan in; scales, statistics and biases above 1/2, so that they show."""
    shapes = jax.eval_shape(lambda: model.init(KEY, images, **keywords))
    leaves, tree = jax.tree.flatten(shapes)

    def value(leaf, seed):
        drawn = np.random.default_rng(seed).normal(size=leaf.shape)
        drawn = drawn * np.sqrt(2 / np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else np.abs(drawn) / 2 + 0.5
        return jnp.asarray(drawn, leaf.dtype)

    return jax.tree.unflatten(tree, [value(leaf, seed) for seed, leaf in enumerate(leaves)])


@functools.cache
def shapes_of(model, *shape):
    """The shapes of parameters and of activations by name, these in forward order; nothing is computed."""
    activations = {}

    def run(images):
        (_, found), variables = model.init_with_output(KEY, images)
        activations.update({name: value.shape for name, value in found.items()})
        return variables

    variables = jax.eval_shape(run, jax.ShapeDtypeStruct(shape, jnp.float32))
    params = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"])
    }
    return params, activations
