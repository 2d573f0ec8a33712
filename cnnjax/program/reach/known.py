"""What is known of an array without the images: its value, or bounds on its integers. Worked out when a rule asks."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.extend.core import JaxprEqn, jaxprs_in_params

from cnnjax.program.reach.bounds import BOUNDS, Bounds, followed, unknown


@dataclasses.dataclass(eq=False)
class Known:
    """An array of the program: given, or one output of a call."""

    shape: tuple[int, ...]
    dtype: Any
    origins: frozenset[str]
    """Out of "position", an iota or an array of integers, and "parameter", an array of floats or random numbers."""
    array: Any = None
    call: "Call | None" = None
    index: int = 0
    determined: bool = False
    """Whether the value follows from the program alone."""

    @staticmethod
    def constant(array: Any) -> "Known":
        """A literal, or an array that the function closes over."""
        dtype = array.dtype if hasattr(array, "dtype") else np.asarray(array).dtype
        # A traced array, in a function that is itself being compiled, has no value yet.
        known = Known(np.shape(array), dtype, frozenset(), array, determined=not isinstance(array, Tracer))
        known.origins |= {"position" if known.integral else "parameter"} if known.shape else frozenset()
        return known

    @property
    def integral(self) -> bool:
        """Whether it holds integers or truth values."""
        return isinstance(self.dtype, np.dtype) and self.dtype.kind in "biu"

    @property
    def positional(self) -> bool:
        """Whether the value is worked out from positions, not from parameters, so that its zeros mean something."""
        return self.origins == {"position"} and self.determined

    @functools.cached_property
    def value(self) -> Any:
        """The value of what is determined: a NumPy array, but for keys of random numbers, which NumPy does not know."""
        array = self.array if self.call is None else self.call.results[self.index]
        return np.asarray(array) if isinstance(self.dtype, np.dtype) else array

    @functools.cached_property
    def bounds(self) -> Bounds:
        """The least and the greatest value that each integer, or truth value, of the array can have."""
        if self.determined:
            return self.value, self.value
        low, high = unknown(self.dtype)
        if self.call is not None and followed(self.dtype):
            low, high = self.call.bounds(self.index) or (low, high)
        return np.broadcast_to(low, self.shape), np.broadcast_to(high, self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """An equation of the program and what is known of its operands."""

    eqn: JaxprEqn
    inputs: Sequence[Known]

    @functools.cached_property
    def params(self) -> Mapping[str, Any]:
        """The settings of the primitive; NumPy's integers, which some hold, as Python's."""
        return {name: _plain(value) for name, value in self.eqn.params.items()}

    @property
    def avals(self) -> list[Any]:
        """Shape and dtype of each result."""
        return [v.aval for v in self.eqn.outvars]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first result."""
        return self.avals[0].shape

    def outputs(self) -> list[Known]:
        """What is known of each result."""
        origins = frozenset.union(_origins(self.eqn), *(known.origins for known in self.inputs))
        determined = all(known.determined for known in self.inputs)
        return [
            Known(a.shape, a.dtype, origins, call=self, index=i, determined=determined)
            for i, a in enumerate(self.avals)
        ]

    def bounds(self, index: int) -> Bounds | None:
        """Bounds of an integer result, if they follow from those of the operands."""
        name = self.eqn.primitive.name
        if name in ("argmax", "argmin"):
            (axis,) = self.params["axes"]
            return np.asarray(0), np.asarray(self.inputs[0].shape[axis] - 1)
        if name not in BOUNDS or not all(known.determined or followed(known.dtype) for known in self.inputs):
            return None
        with jax.ensure_compile_time_eval():
            operands = [known.bounds for known in self.inputs]
            return BOUNDS[name](lambda arrays: self.bind(arrays)[index], operands, self.avals[index].dtype)

    @functools.cached_property
    def results(self) -> Sequence[Any]:
        """The values of the results, where those of all operands are determined."""
        with jax.ensure_compile_time_eval():
            return self.bind([known.value for known in self.inputs])

    def bind(self, operands: Sequence[Any]) -> Sequence[Any]:
        """The results for these operands."""
        primitive = self.eqn.primitive
        results = primitive.bind(*operands, **primitive.get_bind_params(self.eqn.params))
        return results if primitive.multiple_results else [results]


def _plain(value: Any) -> Any:
    if type(value) in (tuple, list):
        return tuple(map(_plain, value))
    return int(value) if isinstance(value, np.integer) else value


def _origins(eqn: JaxprEqn) -> frozenset[str]:
    name = eqn.primitive.name
    if name.startswith(("random_", "rng_", "threefry", "philox")):
        return frozenset(["parameter"])
    inner = (_origins(e) for jaxpr in jaxprs_in_params(eqn.params) for e in jaxpr.eqns)
    return frozenset(["position"] if name == "iota" else []).union(*inner)
