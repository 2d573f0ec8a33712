"""How a chunk of training steps of several networks is run on this backend. The only module that decides.

Accelerators reward one large program: the steps of a chunk are a `lax.scan` and the networks, which differ in seed or
in numbers such as the learning rate, a `vmap` axis. On the CPU a convolution inside a loop, or with a kernel per
network, leaves the fast path and runs an order of magnitude slower, so there the same step is dispatched one by one.
Both give the same numbers to rounding.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from cnnjax import runtime
from cnnjax.door import checked
from cnnjax.door.limits import Positive
from cnnjax.errors import InputError
from cnnjax.training.config import Hyper
from cnnjax.training.step import StepSpec, TrainState, train_step

Mode = Literal["one program", "step by step"]


def default_mode() -> Mode:
    """What the default backend rewards."""
    return "step by step" if jax.default_backend() == "cpu" else "one program"


@checked()
def networks_at_once() -> int:
    """How many networks to train side by side, where there are more: on a CPU that saves nothing."""
    return 1 if default_mode() == "step by step" else 32


@checked()
def stack(trees: Sequence[PyTree]) -> PyTree:
    """One pytree with a leading axis from several of the same structure.

    Raises `InputError` for none, and for trees that differ in structure or shapes.
    """
    if not trees:
        raise InputError("trees are empty: give at least one")
    if len({(jax.tree.structure(tree), tuple(map(np.shape, jax.tree.leaves(tree)))) for tree in trees}) > 1:
        raise InputError("trees differ in their structure or in their shapes: give those of one kind of network")
    return _stack(trees)


@checked()
def unstack(tree: PyTree, count: Positive) -> list[PyTree]:
    """The reverse of `stack`. Raises `InputError` unless every array has a leading axis of `count`."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        if np.shape(leaf)[:1] != (count,):
            name = f"tree{jax.tree_util.keystr(path)}"
            raise InputError(f"{name} has shape {np.shape(leaf)}: expected a leading axis of count={count}")
    return _unstack(tree, count)


# Compiled whole: leaf by leaf, every shape of a network's parameters would be a program of its own.
@jax.jit
def _stack(trees: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@functools.partial(jax.jit, static_argnames="count")
def _unstack(tree: PyTree, count: int) -> list[PyTree]:
    return [jax.tree.map(lambda leaf, index=index: leaf[index], tree) for index in range(count)]


@checked()
def run_steps(
    spec: StepSpec,
    states: TrainState,
    count: Positive,
    keys: Key[Array, " networks"],
    orders: Int[Array, "networks images"],
    images: Array,
    labels: Array,
    hyper: Hyper,
    strengths: PyTree,
    *,
    own: bool = False,
    mode: Mode | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """Train every network for `count` steps within one epoch, and donate the states that came in.

    `states` and `keys` have a leading axis of networks, `orders` is `(networks, images)`. The networks share `hyper`
    and `strengths`, or these have that axis too, and each network its `own`. Returns the states and each metric as
    `(networks, count)`.
    """
    if len(orders) == 0 or len(orders) != len(keys):
        raise InputError(f"{len(orders)} orders for {len(keys)} keys: give one for each network, and at least one")
    if (mode or default_mode()) == "one program":
        return _one_program(spec, count, own)(states, keys, orders, images, labels, hyper, strengths)
    step = _one_step(spec)
    count_of_networks = orders.shape[0]
    settings = unstack((hyper, strengths), count_of_networks) if own else [(hyper, strengths)] * count_of_networks
    finished, metrics = [], []
    for index, state in enumerate(unstack(states, count_of_networks)):
        history = []
        for _ in range(count):
            state, values = step(state, keys[index], orders[index], images, labels, *settings[index])
            history.append(values)
        finished.append(state)
        metrics.append(stack(history))
    return stack(finished), stack(metrics)


@functools.lru_cache(maxsize=8)
def _one_step(spec: StepSpec) -> Callable:
    return runtime.jit(functools.partial(train_step, spec), donate_argnums=0)


@functools.lru_cache(maxsize=8)
def _one_program(spec: StepSpec, count: int, own: bool) -> Callable:
    def chunk(state, key, order, images, labels, hyper, strengths):
        def body(state, _):
            return train_step(spec, state, key, order, images, labels, hyper, strengths)

        return jax.lax.scan(body, state, length=count)

    # A strength that networks share stays a number, and what it leaves out is skipped; their own are both computed.
    settings = 0 if own else None
    return runtime.jit(jax.vmap(chunk, in_axes=(0, 0, 0, None, None, settings, settings)), donate_argnums=0)
