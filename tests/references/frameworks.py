"""One small network, written for each framework with the same weights: what every analysis takes unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnnjax import ops
from tests.repeats import repeated

_random = np.random.default_rng(3)
KERNEL = _random.normal(size=(3, 3, 1, 4)).astype(np.float32)
BIAS = _random.normal(size=4).astype(np.float32)
HEAD = _random.normal(size=(4, 3)).astype(np.float32)


def plain(x):
    hidden = jax.nn.relu(ops.conv(x, jnp.asarray(KERNEL)) + BIAS.reshape(1, 1, 1, 4))
    return hidden.mean((1, 2)) @ jnp.asarray(HEAD), {"hidden": hidden}


class Nnx(nnx.Module):
    def __init__(self):
        # Random initial weights are slow to compile.
        options = dict(kernel_init=nnx.initializers.zeros_init(), rngs=nnx.Rngs(0))
        self.conv = nnx.Conv(1, 4, (3, 3), padding=1, **options)
        self.head = nnx.Linear(4, 3, use_bias=False, **options)
        self.conv.kernel, self.conv.bias = nnx.Param(jnp.asarray(KERNEL)), nnx.Param(jnp.asarray(BIAS))
        self.head.kernel = nnx.Param(jnp.asarray(HEAD))

    def __call__(self, x):
        hidden = nnx.relu(self.conv(x))
        return self.head(hidden.mean((1, 2))), {"hidden": hidden}


def equinox_network():
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed")
    conv = eqx.filter_eval_shape(lambda: eqx.nn.Conv2d(1, 4, 3, padding=1, key=jax.random.key(0)))
    head = eqx.filter_eval_shape(lambda: eqx.nn.Linear(4, 3, use_bias=False, key=jax.random.key(0)))
    weights = jnp.asarray(KERNEL.transpose(3, 2, 0, 1)), jnp.asarray(BIAS.reshape(4, 1, 1))
    conv = eqx.tree_at(lambda m: (m.weight, m.bias), conv, weights)
    head = eqx.tree_at(lambda m: m.weight, head, jnp.asarray(HEAD.T))

    def one(image):
        hidden = jax.nn.relu(conv(jnp.moveaxis(image, -1, 0)))
        return head(hidden.mean((1, 2))), {"hidden": jnp.moveaxis(hidden, 0, -1)}

    return eqx.filter_jit(jax.vmap(one))


MAKERS = {"plain": lambda: plain, "equinox": equinox_network, "jit": lambda: jax.jit(plain), "nnx": Nnx}
other_frameworks = pytest.mark.parametrize("make", repeated(MAKERS[name] for name in ("nnx", "jit", "equinox")))
every_framework = pytest.mark.parametrize(
    "make", repeated([MAKERS[name] for name in ("plain", "equinox", "jit", "nnx")], quick=2), ids=MAKERS.keys()
)
