"""A network as a tape: its traced program as operations on one image that a page can run in JavaScript."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn

from cnnjax.errors import InputError
from cnnjax.program.calls import CALLS
from cnnjax.program.evaluate import run
from cnnjax.program.names import by_name
from cnnjax.program.order import filled
from cnnjax.program.tracing import program_of
from cnnjax.program.walk import Program, called, opened, walk

BINARY = ("add", "sub", "mul", "div", "max", "min", "pow", "gt", "ge", "lt", "le", "eq", "ne")
LOGICAL = ("and", "or")
UNARY = ("neg", "exp", "log", "tanh", "logistic", "rsqrt", "sqrt", "abs", "sign", "square", "expm1", "log1p")
UNCHANGED = ("convert_element_type", "copy", "copy_p", "reduce_precision", "stop_gradient")
REDUCED = {"reduce_sum": "add", "reduce_max": "max", "reduce_min": "min"}
WINDOWED = {"reduce_window_sum": "add", "reduce_window_max": "max", "reduce_window_min": "min"}

LARGEST = 2**24
"""Whole numbers below it are exact as float32, which is all that a page has."""


@dataclasses.dataclass(frozen=True)
class Known:
    """An array that does not depend on the image."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape


@dataclasses.dataclass(frozen=True)
class Made:
    """An array that the tape makes: number 0 is the image, number i what operation i - 1 makes."""

    number: int
    shape: tuple[int, ...]


Value = Known | Made


@dataclasses.dataclass(frozen=True, eq=False)
class Tape:
    """What a page needs to run a network on one image (1, height, width, channels) of pixels in [0, 1]."""

    operations: list[dict[str, Any]]
    """Each with its name `op`, what it is `of` (a `Made` array by its number, or [offset, shape] in the constants), and
    the `shape` that it makes."""
    constants: np.ndarray
    """float32, one after the other."""
    outputs: dict[str, int]
    """The number of each activation, in the order of computation."""


def record(f: Callable[[jax.Array], Any], image_shape: tuple[int, ...]) -> Tape:
    """The tape of a function of images that returns activations; it is traced, not run.

    What does not depend on the image is computed here. Raises InputError for an operation that a tape does not have.
    """
    struct = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    program, result = program_of(f, struct)
    recorder = _Recorder()
    values = recorder.follow(program, [Made(0, struct.shape)])
    named = by_name(filled(result, values))
    outputs = {name: value.number for name, value in named.items() if isinstance(value, Made)}
    constants = np.concatenate([array.ravel() for array in recorder.constants] or [np.zeros(0, np.float32)])
    return Tape(recorder.operations, constants, dict(sorted(outputs.items(), key=lambda item: item[1])))


class _Recorder:
    def __init__(self):
        self.operations: list[dict[str, Any]] = []
        self.constants: list[np.ndarray] = []
        self.offset = 0

    def follow(self, program: Program, operands: Sequence[Value]) -> list[Value]:
        """The values of a program's results."""
        jaxpr, _ = opened(program)
        return walk(
            program,
            operands,
            lambda _, eqn, values: self.step(jaxpr, eqn, values),
            constant=lambda value: Known(np.asarray(value)),
        )

    def step(self, jaxpr: Jaxpr, eqn: JaxprEqn, values: list[Value]) -> Sequence[Value]:
        if all(isinstance(value, Known) for value in values):
            arrays = [value.array for value in values if isinstance(value, Known)]
            return [Known(np.asarray(one)) for one in run(jaxpr, eqn, arrays)]
        if eqn.primitive.name in CALLS:
            return self.follow(called(eqn), values)
        if eqn.primitive.name == "split":
            return self.split(values[0], eqn.params["axis"], eqn.params["sizes"])
        return [self.operation(eqn, values)]

    def operation(self, eqn: JaxprEqn, values: list[Value]) -> Value:
        """The result of an equation that has one, put on the tape."""
        made: Any = eqn.outvars[0].aval
        name, p, shape, first = eqn.primitive.name, eqn.params, made.shape, values[0]
        if jnp.issubdtype(made.dtype, jnp.integer) and _rounds(eqn):  # the page has floats only
            raise InputError("this network rounds to whole numbers, which the page cannot: explore another")
        if name in UNCHANGED:
            return first
        if name in (*BINARY, "add_any", "select_n"):
            short = [_without_repeats(value) for value in values]
            return self.put({"add_any": "add", "select_n": "select"}.get(name, name), short, shape)
        if name in LOGICAL and made.dtype == bool:
            return self.put(name, values, shape)
        if name in UNARY:
            return self.put(name, values, shape)
        if name == "integer_pow":
            return self.put("pow", [first, Known(np.array(p["y"], np.float32))], shape)
        if name in ("reshape", "squeeze", "expand_dims"):
            return self.put("reshape", values, shape)
        if name in ("broadcast_in_dim", "transpose", "slice", "rev"):
            return self.put("view", values, shape, **_view(name, p, first.shape, shape))
        if name == "concatenate":
            return self.put("concatenate", values, shape, axis=p["dimension"])
        if name == "pad":
            low, _, interior = zip(*p["padding_config"], strict=True)
            return self.put("pad", values, shape, low=low, interior=interior)
        if name in REDUCED:
            return self.reduced(REDUCED[name], first, p["axes"], shape)
        if name == "argmax":
            return self.put("argmax", values, shape, axis=p["axes"][0])
        if name in WINDOWED and set(p["base_dilation"]) == {1}:
            slide = {"strides": p["window_strides"], "before": [before for before, _ in p["padding"]]}
            slide |= {"size": p["window_dimensions"], "dilation": p["window_dilation"]}
            return self.put("window", values, shape, how=WINDOWED[name], **slide)
        if name == "dot_general" and not any(p["dimension_numbers"][1]):
            return self.product(values, p["dimension_numbers"][0], shape)
        if name == "conv_general_dilated" and _is_plain(p):
            pairs = {"strides": p["window_strides"], "before": [before for before, _ in p["padding"]]}
            return self.put("conv", values, shape, **pairs, dilation=p["rhs_dilation"], groups=p["feature_group_count"])
        raise InputError(
            f"this network computes with {name}, which the page cannot, as of attention: explore one of convolutions, "
            "pools, normalization and rectifiers, as by --network.name all_conv"
        )

    def split(self, value: Value, axis: int, sizes: Sequence[int]) -> list[Value]:
        """The parts of an array, one after the other along an axis."""
        parts, start = [], 0
        for size in sizes:
            first = [start if a == axis else 0 for a in range(len(value.shape))]
            shape = tuple(size if a == axis else n for a, n in enumerate(value.shape))
            view = _view("slice", {"start_indices": first, "strides": None}, value.shape, shape)
            parts.append(self.put("view", [value], shape, **view))
            start += size
        return parts

    def reduced(self, how: str, value: Value, axes: Sequence[int], shape: tuple[int, ...]) -> Value:
        """A reduction of whole axes: one window as long as each."""
        whole = value.shape
        size = [n if axis in axes else 1 for axis, n in enumerate(whole)]
        kept = tuple(1 if axis in axes else n for axis, n in enumerate(whole))
        ones, zeros = [1] * len(whole), [0] * len(whole)
        found = self.put("window", [value], kept, how=how, size=size, strides=ones, before=zeros, dilation=ones)
        return self.put("reshape", [found], shape)

    def product(self, values: Sequence[Value], axes: Sequence[Sequence[int]], shape: tuple[int, ...]) -> Value:
        """A product of matrices, to which both arrays are brought."""
        matrices = []
        for value, summed, last in zip(values, axes, (True, False), strict=True):
            whole = value.shape
            free = [axis for axis in range(len(whole)) if axis not in summed]
            order = [*free, *summed] if last else [*summed, *free]
            sizes = [math.prod(whole[axis] for axis in part) for part in (free, summed)]
            matrices.append(self.matrix(value, order, tuple(sizes if last else sizes[::-1])))
        return self.put("reshape", [self.put("matmul", matrices, (matrices[0].shape[0], matrices[1].shape[1]))], shape)

    def matrix(self, value: Value, order: list[int], shape: tuple[int, ...]) -> Value:
        """An array with its axes in another order, as a matrix."""
        if isinstance(value, Known):
            return Known(np.transpose(value.array, order).reshape(shape))
        if order != sorted(order):
            turned = tuple(value.shape[axis] for axis in order)
            view = _view("transpose", {"permutation": order}, value.shape, turned)
            value = self.put("view", [value], turned, **view)
        return self.put("reshape", [value], shape)

    def put(self, op: str, values: Sequence[Value], shape: Sequence[int], **about: Any) -> Made:
        """What an operation makes, put on the tape; sizes are JSON's integers."""
        plain = {key: _plain(value) for key, value in about.items()}
        operands = [self.operand(value) for value in values]
        self.operations.append({"op": op, "of": operands, "shape": _plain(shape), **plain})
        return Made(len(self.operations), tuple(shape))

    def operand(self, value: Value) -> int | list[Any]:
        if isinstance(value, Made):
            return value.number
        array = value.array
        if array.dtype.kind not in "fb" and not (array.dtype.kind in "iu" and (np.abs(array) < LARGEST).all()):
            raise InputError(f"this network computes with {array.dtype}, which the page cannot: explore another")
        at, self.offset = self.offset, self.offset + array.size
        self.constants.append(np.asarray(array, np.float32))
        return [at, list(array.shape)]


def _rounds(eqn: JaxprEqn) -> bool:
    """Whether an equation with whole numbers for a result makes these of fractions."""
    source: Any = eqn.invars[0].aval
    converts = eqn.primitive.name == "convert_element_type" and jnp.issubdtype(source.dtype, jnp.floating)
    return converts or eqn.primitive.name == "div"


def _without_repeats(value: Value) -> Value:
    """A known array cut to 1 along every axis along which it repeats itself: the page broadcasts it again."""
    if isinstance(value, Made):
        return value
    array = value.array
    for axis in range(array.ndim):
        one = array.take([0], axis)
        if array.shape[axis] > 1 and (array == one).all():
            array = one
    return Known(array)


def _view(name: str, p: dict[str, Any], source: tuple[int, ...], shape: tuple[int, ...]) -> dict[str, Any]:
    """The array as a view of a flat one: element i is at `offset + Σ_a i_a strides_a`."""
    strides = [math.prod(source[axis + 1 :]) for axis in range(len(source))]
    match name:
        case "transpose":
            return {"offset": 0, "strides": [strides[axis] for axis in p["permutation"]]}
        case "slice":
            steps = p["strides"] or [1] * len(source)
            offset = sum(start * stride for start, stride in zip(p["start_indices"], strides, strict=True))
            return {"offset": offset, "strides": [a * b for a, b in zip(steps, strides, strict=True)]}
        case "rev":
            turned = p["dimensions"]
            offset = sum((source[axis] - 1) * strides[axis] for axis in turned)
            return {"offset": offset, "strides": [-s if axis in turned else s for axis, s in enumerate(strides)]}
        case _:
            spread = [0] * len(shape)
            for axis, target in enumerate(p["broadcast_dimensions"]):
                spread[target] = strides[axis] if source[axis] > 1 else 0
            return {"offset": 0, "strides": spread}


def _is_plain(p: dict[str, Any]) -> bool:
    """Whether a convolution is of images (batch, height, width, channels), and not a transposed one."""
    numbers = p["dimension_numbers"]
    image, kernel = (0, 3, 1, 2), (3, 2, 0, 1)
    same = (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec) == (image, kernel, image)
    return same and set(p["lhs_dilation"]) == {1} and p["batch_group_count"] == 1


def _plain(value: Any) -> Any:
    return [int(one) for one in value] if isinstance(value, Sequence) and not isinstance(value, str) else value
