"""Sums for each channel as functions of JAX arrays that call compiled kernels; for lowering on a CPU only."""

import functools
import math
import threading

import jax
import jax.numpy as jnp
from jax import Array

from cnnjax.kernels import machine_code
from cnnjax.kernels.channel_code import ROWS, Which, channel_code, tile
from cnnjax.kernels.frame import header
from cnnjax.kernels.handler import Plan, handler, module
from cnnjax.kernels.targets import Target, register
from cnnjax.kernels.vectors import Processor

_CALL = "1"  # the version of operands and results of a call: programs in a compilation cache know it by its name
_NUMBERS = 65_536  # in a chunk: enough that taking one costs nothing
_MOST_CHUNKS = 16
_lock = threading.Lock()


def call_sums(a: Array, b: Array, centre: Array) -> tuple[Array, Array]:
    """`channels.sums` by a kernel."""
    return _call("sums", a, b, centre)


def call_moments(x: Array) -> tuple[Array, Array]:
    """`channels.moments` by a kernel."""
    return _call("moments", x, x)


def _call(which: Which, first: Array, second: Array, *third: Array) -> tuple[Array, Array]:
    copies = max(operand.shape[0] for operand in (first, second, *third))
    _, positions, channels = first.shape
    name, plan = _target(which, channels)
    shapes = (1, copies, 2, channels), (1, copies, plan.chunks(positions), ROWS, channels)
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    # The whole is one share: no kernel is called where XLA shares out the batch.
    made, _ = jax.ffi.ffi_call(name, results)(*(operand[None] for operand in (first, second, *third)))
    return made[0, :, 0], made[0, :, 1]


def _target(which: Which, channels: int) -> Target:
    with _lock:
        return _registered(which, channels)


@functools.cache
def _registered(which: Which, channels: int) -> Target:
    name, processor = f"cnnjax_channels{_CALL}_{which}_{channels}", machine_code.processor()
    register(name, lambda: source(which, channels, processor, name))
    return Target(name, planned(which, channels))


def planned(which: Which, channels: int) -> Plan:
    """How positions are cut into chunks, which does not depend on how many threads there are."""
    return Plan(
        tiles=1,
        units=max(tile(channels), math.ceil(_NUMBERS / channels)),
        most_chunks=_MOST_CHUNKS,
        in_size=channels,
        w_size=channels,
        out_size=ROWS * channels,
        finished_size=2 * channels,
        sums=True,
        third_size=channels if which == "sums" else 0,
    )


def source(which: Which, channels: int, processor: Processor, name: str) -> str:
    """The module of one of the two functions, whose handler has this name."""
    body = f"{name}_body"
    kernel = channel_code(which, channels, processor, name=body)
    return module([kernel, handler(body, planned(which, channels), header(), name=name)])
