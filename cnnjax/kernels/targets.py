"""Each pass of each convolution as a function that XLA knows by name: compiled and registered when first asked for."""

import ctypes
import functools
import math
import threading
from collections.abc import Callable
from typing import NamedTuple

import jax

from cnnjax.kernels import depthwise, gather, kept_code, machine_code, tiles, weight_gradient, winograd_weights
from cnnjax.kernels.frame import header
from cnnjax.kernels.geometry import Geometry, Pass
from cnnjax.kernels.handler import Plan, handler, module
from cnnjax.kernels.vectors import Processor
from cnnjax.kernels.winograd import winograd

_CALL = "4"  # the version of operands and results of a call: programs in a compilation cache know it by its name
_OPERATIONS = 6e6  # in a unit: enough that taking one costs nothing
_PIXELS = 128
_lock = threading.Lock()


class Target(NamedTuple):
    """A function that XLA calls, and how it cuts its work."""

    name: str
    plan: Plan


def target(geometry: Geometry, which: Pass, *, tiled: bool = False) -> Target:
    """The target of one pass over maps of two axes; `tiled` is by Winograd's tiles.

    Raises UnfitProcessorError or UnknownFrameError where there can be none.
    """
    with _lock:
        return _target(geometry, which, tiled)


@functools.cache
def _target(geometry: Geometry, which: Pass, tiled: bool) -> Target:
    name = f"cnnjax_conv{_CALL}_{'tiled_' if tiled else ''}{which}_{geometry.name}"
    processor = machine_code.processor()
    register(name, lambda: source(geometry, which, processor, name, tiled=tiled))
    return Target(name, planned(geometry, which, processor, tiled=tiled))


def register(name: str, source: Callable[[], str]) -> None:
    """Give XLA the function of this name of a module, compiled unless its machine code is kept."""
    address = machine_code.loaded(code(name, source), name)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    jax.ffi.register_ffi_target(name, new(address, b"xla._CUSTOM_CALL_TARGET", None), platform="cpu")
    if hasattr(jax.ffi, "register_ffi_target_as_batch_partitionable"):
        jax.ffi.register_ffi_target_as_batch_partitionable(name)


def code(name: str, source: Callable[[], str]) -> bytes:
    """The machine code of a module, compiled unless it is kept under this name."""
    api = ".".join(map(str, header().version))
    key = kept_code.key(name, *machine_code.identity(), f"interface {api}")
    if (found := kept_code.kept(key)) is not None:
        return found
    made = machine_code.compiled(source())
    kept_code.keep(key, made)
    return made


def planned(geometry: Geometry, which: Pass, processor: Processor, *, tiled: bool = False) -> Plan:
    """How the work of a pass is cut, which does not depend on how many threads there are."""
    if tiled:
        return (
            _weights_in_tiles(geometry, processor) if which == "weights" else _maps_in_tiles(geometry, which, processor)
        )
    sums = which == "weights"
    rows = geometry.out[0] if which != "input" else geometry.size[0]
    tiles = min(rows, max(1, round(geometry.operations / _OPERATIONS)))
    if sums:
        tiles = min(rows, max(tiles, weight_gradient.tiles_for(geometry, processor)))
    maps, made, weights = (math.prod(shape) for shape in (geometry.maps, geometry.made, geometry.kernel))
    if not sums and not geometry.depthwise:
        channels = gather.weight_layout(geometry, processor, gradient=which == "input").padded
        read = (geometry.features if which == "input" else geometry.channels) // geometry.groups
        weights = geometry.groups * math.prod(geometry.window) * read * channels
    sizes = {"forward": (maps, weights, made), "input": (made, weights, maps), "weights": (maps, made, weights)}[which]
    units = max(1, round(_OPERATIONS * tiles / max(1, geometry.operations)))
    if 4 * weights > weight_gradient.NEAR:
        # Writing a chunk's sum and reading it again takes as long as the products of a hundred pixels, and reading
        # weights from afar as long as those of some ten.
        pixels = geometry.out if which != "input" else geometry.size
        units = max(units, math.ceil((512 if sums else _PIXELS) * tiles / max(1, math.prod(pixels))))
    return Plan(
        tiles=tiles,
        units=units,
        most_chunks=1 << 30 if not sums else 16 if weights < 20_000 else 8,
        in_size=sizes[0],
        w_size=sizes[1],
        out_size=sizes[2],
        sums=sums,
    )


def _maps_in_tiles(geometry: Geometry, which: Pass, processor: Processor) -> Plan:
    it = tiles.tiles_of(geometry, gradient=which == "input")
    sizes = tiles.layout(it, processor)
    together = -(-sizes.together // sizes.unit)
    return Plan(
        tiles=it.per_map // sizes.unit,
        units=max(together, round(_OPERATIONS * it.per_map / (sizes.unit * geometry.operations))),
        most_chunks=1 << 30,
        in_size=math.prod(it.read) * it.read_channels,
        w_size=tiles.WEIGHTS * it.read_channels * sizes.made,
        out_size=math.prod(it.made) * it.made_channels,
        sums=False,
        scratch=sizes.size,
    )


def _weights_in_tiles(geometry: Geometry, processor: Processor) -> Plan:
    it = tiles.tiles_of(geometry, gradient=False)
    sizes = winograd_weights.layout(it, processor)
    units = _OPERATIONS * it.per_map / (sizes.unit * geometry.operations)
    # A chunk's 16 sums for each 9 weights begin and end once.
    return Plan(
        tiles=it.per_map // sizes.unit,
        units=max(1, round(units), math.ceil(8 * sizes.together / sizes.unit)),
        most_chunks=16,
        in_size=math.prod(geometry.maps),
        w_size=math.prod(geometry.made),
        out_size=math.prod(geometry.kernel),
        sums=True,
        scratch=sizes.size,
    )


def source(geometry: Geometry, which: Pass, processor: Processor, name: str, *, tiled: bool = False) -> str:
    """The module of one pass, whose handler has this name."""
    plan, body = planned(geometry, which, processor, tiled=tiled), f"{name}_body"
    if tiled and which == "weights":
        kernel = winograd_weights.winograd_weights(geometry, processor, name=body)
    elif tiled:
        kernel = winograd(geometry, processor, gradient=which == "input", name=body)
    elif which == "weights":
        write = depthwise.depthwise_weights if geometry.depthwise else weight_gradient.weight_gradient
        kernel = write(geometry, processor, tiles=plan.tiles, name=body)
    else:
        write = depthwise.depthwise_gather if geometry.depthwise else gather.gather
        kernel = write(geometry, processor, gradient=which == "input", tiles=plan.tiles, name=body)
    return module([kernel, handler(body, plan, header(), name=name)])
