"""How many multiply-adds an equation of a traced program performs, read off its shapes."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from cnnjax.program.calls import CALLS
from cnnjax.program.primitives import PRODUCTS, UNCOUNTED
from cnnjax.program.walk import equations, programs


@dataclasses.dataclass(frozen=True)
class Work:
    """Multiply-adds, and the primitives for which their number is a bound or a guess."""

    multiply_adds: int = 0
    inexact: frozenset[str] = frozenset()

    def __add__(self, other: "Work") -> "Work":
        return Work(self.multiply_adds + other.multiply_adds, self.inexact | other.inexact)

    def __mul__(self, times: int) -> "Work":
        return dataclasses.replace(self, multiply_adds=self.multiply_adds * times)


def work(eqn: JaxprEqn) -> Work:
    """The work of one equation: of products in its own right, of all that runs programs by the programs inside.

    An operation that is not known counts as the programs inside, run once, and is named.
    """
    name = eqn.primitive.name
    if name in COUNTS:
        return Work(COUNTS[name](eqn))
    if name in UNCOUNTED:
        return Work()
    parts = [sum(map(work, equations(program)), Work()) for program in programs(eqn)]
    if name == "cond":
        return _costliest(parts)
    total = sum(parts, Work())
    if name == "scan":
        return total * eqn.params["length"]
    if name in CALLS or (name == "while" and not total.multiply_adds):
        return total
    # A loop whose rounds nobody knows beforehand, or a primitive that may do anything with its operands.
    return Work(total.multiply_adds, total.inexact | {name})


def _costliest(branches: list[Work]) -> Work:
    each = {branch.multiply_adds for branch in branches}
    inexact = frozenset[str]().union(*(branch.inexact for branch in branches))
    return Work(max(each), inexact | {"cond"} if len(each) > 1 else inexact)


def _matrix_product(eqn: JaxprEqn) -> int:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    x = _shape(eqn.invars[0])
    return math.prod(_shape(eqn.outvars[0])) * math.prod(x[axis] for axis in contracted)


def _convolution(eqn: JaxprEqn) -> int:
    """For each number of the result a product with each weight that it reads, those on padding included.

    What a transposed convolution puts between the numbers of its input is no product: there the result skips weights.
    """
    spec = eqn.params["dimension_numbers"]
    kernel, result = _shape(eqn.invars[1]), _shape(eqn.outvars[0])
    total = result[spec.out_spec[0]] * result[spec.out_spec[1]] * kernel[spec.rhs_spec[1]]
    for out_axis, kernel_axis, stride, dilation, spacing, (before, _) in zip(
        spec.out_spec[2:],
        spec.rhs_spec[2:],
        eqn.params["window_strides"],
        eqn.params["rhs_dilation"],
        eqn.params["lhs_dilation"],
        eqn.params["padding"],
        strict=True,
    ):
        starts, offsets = stride * np.arange(result[out_axis]), dilation * np.arange(kernel[kernel_axis])
        total *= int(((starts[:, None] + offsets[None] - before) % spacing == 0).sum())
    return total


def _shape(atom: Any) -> tuple[int, ...]:
    return atom.aval.shape


COUNTS: Mapping[str, Callable[[Any], int]] = dict(zip(PRODUCTS, (_convolution, _matrix_product), strict=True))
