"""Which arrays of a traced program are linear or affine in the images, by rules for its primitives."""

import dataclasses
import enum
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn
from jax.lax import GatherScatterMode

from cnnjax.program.calls import CALLS
from cnnjax.program.reach.known import Call, Known
from cnnjax.program.reach.rules import SELECTORS
from cnnjax.program.walk import Program, called, walk


class Form(enum.IntFlag):
    """What an array may be made of: the form of a sum is the union of the forms."""

    ZERO = 0
    LINEAR = 1
    OFFSET = 2
    """What does not depend on the images."""
    OTHER = 4


ANYTHING = Form.LINEAR | Form.OFFSET | Form.OTHER


@dataclasses.dataclass(frozen=True, eq=False)
class Term:
    """An array of the program: what is known of its value without the images, and its form where it needs them."""

    known: Known
    given: Form | None = None

    @functools.cached_property
    def form(self) -> Form:
        """The form; whether a constant is 0 is worked out when asked for."""
        if self.given is not None:
            return self.given
        countable = self.known.determined and isinstance(self.known.dtype, np.dtype)
        return Form.ZERO if countable and not np.any(self.known.value) else Form.OFFSET

    @property
    def depends(self) -> bool:
        """Whether the images matter, for all that is known."""
        return self.given is not None and bool(self.given & (Form.LINEAR | Form.OTHER))

    def forgotten(self) -> "Term":
        """The term without its value, as in a loop, where each round has another."""
        return Term(_unknown(self.known, self.known.shape), self.form)


def forms(program: Program, terms: Sequence[Term]) -> list[Term]:
    """The forms of the results of a program, given those of its operands."""
    return walk(program, terms, _apply, constant=lambda value: Term(Known.constant(value)))


def _apply(position: int, eqn: JaxprEqn, terms: list[Term]) -> list[Term]:
    name = eqn.primitive.name
    call = Call(eqn, [term.known for term in terms])
    if not any(term.given is not None for term in terms):
        return [Term(known) for known in call.outputs()]
    if name in CONTROL:
        return CONTROL[name](eqn, terms)
    selectors = range(len(terms))[SELECTORS.get(name, slice(0))]
    if name in RULES and not any(terms[i].depends for i in selectors):
        form = RULES[name](call, [term for i, term in enumerate(terms) if i not in selectors])
    else:
        form = ANYTHING if any(term.depends for term in terms) else Form.OFFSET
    return [Term(known, form) for known in call.outputs()]


def _sum(call: Call, terms: Sequence[Term]) -> Form:
    return functools.reduce(Form.__or__, (term.form for term in terms))


def _product(call: Call, terms: Sequence[Term]) -> Form:
    depending = [term.form for term in terms if term.depends]
    if len(depending) > 1:
        return ANYTHING
    # Whether weights are 0 is not asked: it would take a look at each. What a loop starts with has been looked at.
    zero = any(term.given == Form.ZERO for term in terms)
    return depending[0] if depending else Form.ZERO if zero else Form.OFFSET


def _quotient(call: Call, terms: Sequence[Term]) -> Form:
    dividend, divisor = terms
    return ANYTHING if divisor.depends else dividend.form


def _convert(call: Call, terms: Sequence[Term]) -> Form:
    # To integers, numbers are cut off; between floating types they are the same but for rounding.
    (term,) = terms
    return ANYTHING if term.depends and not jnp.issubdtype(call.avals[0].dtype, jnp.inexact) else term.form


def _gather(call: Call, terms: Sequence[Term]) -> Form:
    if call.params["mode"] is not GatherScatterMode.FILL_OR_DROP or call.params["fill_value"] == 0:
        return _sum(call, terms)
    numbers, shape = call.params["dimension_numbers"], call.inputs[0].shape
    last = [shape[axis] - call.params["slice_sizes"][axis] for axis in numbers.start_index_map]
    low, high = call.inputs[1].bounds
    inside = (low >= 0).all() and (high <= np.array(last)).all()
    # Whatever is read beyond the array is a constant.
    return _sum(call, terms) if inside else _sum(call, terms) | Form.OFFSET


def _inline(eqn: JaxprEqn, terms: list[Term]) -> list[Term]:
    return forms(called(eqn), terms)


def _each(eqn: JaxprEqn, terms: list[Term]) -> list[Term]:
    return terms


def _cond(eqn: JaxprEqn, terms: list[Term]) -> list[Term]:
    which, *operands = terms
    branches = eqn.params["branches"]
    if which.depends:
        return _anything(eqn)
    low, high = (min(max(int(end), 0), len(branches) - 1) for end in which.known.bounds)
    results = [forms(branch, operands) for branch in branches[low : high + 1]]
    return [of[0] if len(of) == 1 else _either(of) for of in zip(*results, strict=True)]


def _while(eqn: JaxprEqn, terms: list[Term]) -> list[Term]:
    n_cond, n_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    going, body = terms[:n_cond], terms[n_cond : n_cond + n_body]
    carry, _ = _repeated(eqn.params["body_jaxpr"], body, terms[n_cond + n_body :], [])
    (ended,) = forms(eqn.params["cond_jaxpr"], [*going, *carry])
    return _anything(eqn) if ended.depends else carry


def _scan(eqn: JaxprEqn, terms: list[Term]) -> list[Term]:
    body = eqn.params["jaxpr"]
    results: list[Any] = eqn.outvars
    # What is carried has the body's shape; what is cut into slices has an axis more.
    carried = sum(len(v.aval.shape) == len(a.shape) for v, a in zip(results, body.out_avals, strict=True))
    sliced = sum(len(t.known.shape) > len(a.shape) for t, a in zip(terms, body.in_avals, strict=True))
    first = len(terms) - sliced - carried
    slices = [Term(_unknown(t.known, t.known.shape[1:]), t.form) for t in terms[first + carried :]]
    carry, rest = _repeated(body, terms[:first], terms[first : first + carried], slices)
    stacked = zip(results[carried:], rest, strict=True)
    return [*carry, *(Term(_unknown(term.known, v.aval.shape), term.form) for v, term in stacked)]


def _repeated(
    body: ClosedJaxpr, constants: list[Term], carry: list[Term], slices: list[Term]
) -> tuple[list[Term], list[Term]]:
    """What a loop carries after any number of rounds, and what else its rounds give."""
    carry = [term.forgotten() for term in carry]
    while True:
        results = forms(body, [*constants, *carry, *slices])
        joined = [_either(pair) for pair in zip(carry, results[: len(carry)], strict=True)]
        if [term.form for term in joined] == [term.form for term in carry]:
            return carry, results[len(carry) :]
        carry = joined


def _either(terms: Sequence[Term]) -> Term:
    form = functools.reduce(Form.__or__, (term.form for term in terms))
    return Term(_unknown(terms[0].known, terms[0].known.shape), form)


def _anything(eqn: JaxprEqn) -> list[Term]:
    results: list[Any] = eqn.outvars
    return [Term(Known(v.aval.shape, v.aval.dtype, frozenset()), ANYTHING) for v in results]


def _unknown(known: Known, shape: tuple[int, ...]) -> Known:
    return Known(shape, known.dtype, known.origins)


SUMS = """
    add add_any broadcast_in_dim complex concatenate conj copy cumsum dynamic_slice dynamic_update_slice fft imag
    layout_constraint neg pad pvary real reduce_sum reduce_window_sum reshape reshard rev scatter scatter-add
    scatter-sub select_n sharding_constraint slice split squeeze stack stop_gradient sub tile transpose unstack
"""
"""Every number of the result is a sum of numbers of the operands, each times a constant."""

PRODUCTS = "mul dot_general conv_general_dilated"

RULES: Mapping[str, Callable[[Call, Sequence[Term]], Form]] = {
    **dict.fromkeys(SUMS.split(), _sum),
    **dict.fromkeys(PRODUCTS.split(), _product),
    "div": _quotient,
    "convert_element_type": _convert,
    "gather": _gather,
}

CONTROL: Mapping[str, Callable[[JaxprEqn, list[Term]], list[Term]]] = {
    **dict.fromkeys(CALLS, _inline),
    "optimization_barrier": _each,
    "device_put": _each,
    "cond": _cond,
    "while": _while,
    "scan": _scan,
}
