"""Images drawn by NumPy, and the shapes of a network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests.drawn import KEY


def pixels(*shape, seed=1, dtype=np.float32):
    """Independent uniform values in [0, 1]."""
    return jnp.asarray(np.random.default_rng(seed).random(shape), dtype)


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
