"""Networks from another initialisation than their own: the kernels of convolutions drawn again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.tree_util import DictKey
from jaxtyping import Array, PyTree

from cnnjax.layers.initializers import delta_orthogonal, lecun_normal

Initialization = Literal["he", "glorot", "lecun", "orthogonal", "small"]

INITIALIZERS: Mapping[str, Callable[..., Array]] = {
    "glorot": nn.initializers.variance_scaling(1.0, "fan_avg", "normal"),
    "lecun": lecun_normal,
    "orthogonal": delta_orthogonal,
    "small": nn.initializers.normal(0.01),
}
"""Beside He's, with which the networks come (Glorot & Bengio 2010, eq. 12; Krizhevsky et al. 2012, section 5)."""


def redrawn(variables: PyTree, initialization: Initialization, seeds: Sequence[int]) -> PyTree:
    """The variables, stacked along a leading axis of seeds, with the kernels `(seeds, k, k, in, out)` drawn again.

    "he" leaves them as they are. Raises `InputError` where "orthogonal" kernels lead to fewer channels.
    """
    if initialization == "he":
        return variables
    draw = INITIALIZERS[initialization]
    paths, structure = jax.tree.flatten_with_path(variables)
    leaves = []
    for number, (path, leaf) in enumerate(paths):
        if path[-1] == DictKey("kernel") and leaf.ndim == 5:
            keys = [jax.random.fold_in(jax.random.key(seed), number) for seed in seeds]
            leaf = jnp.stack([draw(key, leaf.shape[1:], leaf.dtype) for key in keys])
        leaves.append(leaf)
    return structure.unflatten(leaves)
