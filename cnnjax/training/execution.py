"""How many steps and networks one program runs on this backend.

The steps of a chunk are a loop within one program, which serves every number of steps. On accelerators the networks,
which differ in seed or in numbers such as the learning rate, are an axis of it too. On the CPU, by measurement (one
core of Zen 4, batches of 64, speed over that of steps dispatched one by one):

| network                      | loop | 5 networks at once |
| ---------------------------- | ---: | -----------------: |
| three convolutions, 32×32×1  | 1.06 |               1.06 |
| LeNet-5                      | 1.06 |               1.06 |
| p4 group network, 16×16×1    | 1.07 |               1.03 |
| ResNet-20                    | 1.02 |               0.91 |
| vision transformer, 32×32×3  | 0.97 |               0.93 |
| with a convolution of XLA's  | 0.11 |               0.95 |

So there each network has a call of its own, as many calls at the same time as there are cores, and the same bits in any
company; and where `cnnjax.kernels` leaves a convolution to XLA, whose CPU code crawls in loops, a program is of one
step.
"""

import dataclasses
import functools
import math
import os
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jax.stages import Wrapped
from jaxtyping import Array, Key, PyTree

from cnnjax import processes, runtime
from cnnjax.door import checked
from cnnjax.door.limits import Positive
from cnnjax.errors import InputError
from cnnjax.training.config import Settings
from cnnjax.training.devices import AXIS, Placement, gathered, place
from cnnjax.training.step import METRICS, Epoch, StepSpec, TrainState, train_step

MOST_STEPS = 256
"""Steps in a call of a program at most."""
_SECONDS = 2.0  # that a call is to take at most: Python hears of an interrupt after it
_found: dict[Hashable, int] = {}  # the most steps in a call, for what has been lowered


@checked()
def networks_at_once() -> int:
    """How many networks one program is to train, where there are more: on a CPU each has a call of its own."""
    return 1 if runtime.on_cpu() else 32


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
    epoch: Epoch,
    settings: Settings,
    *,
    own: bool = False,
    together: bool | None = None,
    stop: threading.Event | None = None,
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """Train every network for `count` steps within one epoch, and donate the states that came in.

    `states`, `keys` and `epoch.order` have a leading axis of networks. The networks share the `settings`, or these have
    that axis too, and each network its `own`. `together` is whether one program trains all networks at once; None: if
    the backend rewards it. With `spec.placement` several devices share networks or batches, wherever the arguments lie.
    Returns the states and each metric as `(networks, count)`.
    Several calls of fewer steps give the same bits as one.

    Once `stop` is set, each network ends after the call of the program that it is in: `states.step` says how far it
    is, and its metrics are NaN from there on.
    """
    orders, networks = epoch.order, len(epoch.order)
    if networks == 0 or networks != len(keys):
        raise InputError(f"{networks} orders for {len(keys)} keys: give one for each network, and at least one")
    which = "own" if own else "shared"
    if spec.placement is not None and spec.placement.over == "networks":
        program = steps_program(spec, MOST_STEPS, which)
        return _shared_out(spec.placement, program, states, count, keys, epoch, settings, own, stop)
    if spec.placement is not None:
        states = place(states, spec.placement.of_state(states, stacked=True))
        keys, epoch, settings = place((keys, epoch, settings), spec.placement.everywhere)
    if networks_at_once() > 1 if together is None else together:
        program = steps_program(spec, MOST_STEPS, which)
        if processes.count() > 1:  # compiled before they meet: in a collective one does not wait for long
            program = program.lower(states, np.int32(1), keys, epoch, settings).compile()
        return _repeated(program, MOST_STEPS, states, count, keys, epoch, settings, stop=stop)
    each = unstack(settings, networks) if own else [settings] * networks
    calls = [
        (state, (key, dataclasses.replace(epoch, order=order), mine))
        for state, key, order, mine in zip(unstack(states, networks), keys, orders, each, strict=True)
    ]
    if spec.placement is not None:
        calls = [
            (place(state, spec.placement.of_state(state)), place(rest, spec.placement.everywhere))
            for state, rest in calls
        ]
    finished = _side_by_side(spec, calls, count, stop or threading.Event())
    metrics = {name: np.stack([history[name] for _, history in finished]) for name in METRICS}
    return stack([state for state, _ in finished]), metrics


def _shared_out(
    placement: Placement,
    program: Callable,
    states: TrainState,
    count: int,
    keys: Array,
    epoch: Epoch,
    settings: Settings,
    own: bool,
    stop: threading.Event | None,
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """Each device trains its networks; where these do not divide, the last is trained more than once."""
    networks = len(keys)
    filled = math.ceil(networks / placement.devices) * placement.devices
    apart = place(_first(filled, (states, keys, epoch.order, settings if own else None)), placement.shared)
    states, keys, orders, owned = apart
    images, labels, common = place((epoch.images, epoch.labels, None if own else settings), placement.everywhere)
    rest = keys, Epoch(orders, images, labels), owned if own else common
    states, metrics = _repeated(program, MOST_STEPS, states, count, *rest, stop=stop)
    return _first(networks, states), {name: values[:networks] for name, values in metrics.items()}


def _first(count: int, tree: PyTree) -> PyTree:
    """So many networks of a stacked tree, the last one repeated where there are fewer."""
    there = len(jax.tree.leaves(tree)[0])
    return tree if count == there else _taken(tree, jnp.minimum(jnp.arange(count), there - 1))


@jax.jit
def _taken(tree: PyTree, numbers: Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[numbers], tree)


def _side_by_side(
    spec: StepSpec, calls: list[tuple[TrainState, tuple]], count: int, stop: threading.Event
) -> list[tuple[TrainState, dict]]:
    """`count` steps of each network, of as many at the same time as there are cores.

    A small network's step leaves cores idle: on two, five networks of `experiments.augmentation` take .78 of the time
    that they take one after the other. Which is computed beside which changes no bit. On several devices they come one
    after the other: programs that devices run in different orders wait for each other for ever.
    """
    # Compiled here, once for all: JAX's settings may be those of this thread only, such as the precision of products.
    most = processes.agreed_number(_most_steps(spec, calls[0][0], *calls[0][1]))
    programs = [steps_program(spec, most).lower(state, np.int32(1), *rest).compile() for state, rest in calls]
    with ThreadPoolExecutor(1 if spec.placement else min(len(calls), os.cpu_count() or 1)) as pool:
        futures = [
            pool.submit(_repeated, program, most, state, count, *rest, stop=stop)
            for program, (state, rest) in zip(programs, calls, strict=True)
        ]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()  # an interrupt, or an error in one: the others end after the call that they are in
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _most_steps(spec: StepSpec, *arguments: Any) -> int:
    """Steps in a call for one network on the CPU: one if XLA is to compute any of its convolutions."""
    kind = (spec, *(jax.typeof(leaf) for leaf in jax.tree.leaves(arguments)))
    if kind not in _found:
        # What is lowered here is compiled later: JAX keeps it.
        text = steps_program(spec, MOST_STEPS).lower(arguments[0], np.int32(1), *arguments[1:]).as_text()
        _found[kind] = 1 if "stablehlo.convolution" in text else MOST_STEPS
    return _found[kind]


def _repeated(
    program: Callable, most: int, state: TrainState, count: int, *rest: Any, stop: threading.Event | None = None
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """`count` steps, or fewer at a stop, in as many calls of the program as keep each short; metrics of all `count`."""
    parts, done, steps = [], 0, 1
    processes.meet()
    while done < count and not (stop is not None and stop.is_set()):
        began = time.perf_counter()
        state, history = program(state, np.int32(steps), *rest)
        parts.append((steps, history))
        done += steps
        if most > 1:
            jax.block_until_ready(state)
            pace = _SECONDS / (time.perf_counter() - began)
            steps = min(max(1, int(steps * pace)), most, count - done)
            steps = processes.agreed_number(steps)  # for clocks differ
        elif len(parts) > 1:
            jax.block_until_ready(parts[-2][1])  # so that no more than two steps are under way when a stop comes
    not_taken = np.full((*np.shape(state.step), count - done), np.nan, np.float32)
    found = [(steps, gathered(history)) for steps, history in parts]
    metrics = {name: [history[name][..., :steps] for steps, history in found] for name in METRICS}
    return state, {name: np.concatenate([*values, not_taken], axis=-1) for name, values in metrics.items()}


@functools.lru_cache(maxsize=8)
def steps_program(spec: StepSpec, most: int, networks: Literal["one", "shared", "own"] = "one") -> Wrapped:
    """Up to so many steps of one network, or of several along a first axis, with settings that they share or own."""
    apart = spec.placement if spec.placement is not None and spec.placement.over == "networks" else None
    if apart is not None:
        spec = dataclasses.replace(spec, placement=None)  # within the program of each device

    def steps(state, count, key, epoch, settings):
        def body(i, carried):
            state, history = carried
            state, metrics = train_step(spec, state, key, epoch, settings)
            return state, {name: history[name].at[i].set(metrics[name]) for name in METRICS}

        start = (state, {name: jnp.zeros(most) for name in METRICS})
        return body(0, start) if most == 1 else jax.lax.fori_loop(0, count, body, start)

    if networks != "one":
        # A strength that networks share stays a number, and what it leaves out is skipped; their own are both computed.
        steps = jax.vmap(steps, in_axes=(0, None, 0, Epoch(0, None, None), 0 if networks == "own" else None))
    if apart is not None:
        mine, all_ = PartitionSpec(AXIS), PartitionSpec()
        specs = (mine, all_, mine, Epoch(mine, all_, all_), mine if networks == "own" else all_)
        # Devices exchange nothing, so which values differ among them need not be followed, through augmentation too.
        steps = jax.shard_map(steps, mesh=apart.mesh, in_specs=specs, out_specs=mine, check_vma=False)
    return jax.jit(steps, donate_argnums=0, compiler_options=runtime.compiler_options())
