"""How the activations of a function hang together: which is made of which, by what products, with which shortcuts."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

from jax.extend.core import Literal as Written

from cnnjax.program.dataflow import Dataflow
from cnnjax.program.equations import Equation
from cnnjax.program.names import named
from cnnjax.program.primitives import PRODUCTS
from cnnjax.program.tracing import program_of

IMAGES = "images"
SUMS = ("add", "add_any")


@dataclasses.dataclass(frozen=True)
class Product:
    """A convolution, or a matrix product, of what is made of the images by what is not."""

    kind: Literal["convolution", "transposed", "dense"]
    window: tuple[int, ...]
    """Of a convolution; as is the stride."""
    stride: tuple[int, ...]
    groups: int
    weights: int

    def __str__(self) -> str:
        if self.kind == "dense":
            return "dense"
        size = "×".join(map(str, self.window))
        before = "transposed " if self.kind == "transposed" else ""
        stride = f" / {max(self.stride)}" if max(self.stride) > 1 else ""
        return f"{before}{size}{stride}{f', {self.groups} groups' if self.groups > 1 else ''}"


@dataclasses.dataclass(frozen=True)
class Link:
    """One activation, and how it is made of those before it."""

    name: str
    shape: tuple[int, ...]
    reads: tuple[str, ...]
    """The activations that it is made of, `IMAGES` among them."""
    products: tuple[Product, ...]
    shortcut: bool
    """Whether a sum on the way adds up what has come by more products and what by fewer."""


@dataclasses.dataclass(frozen=True)
class Part:
    """An operation within a layer."""

    label: str
    reads: tuple[int, ...]
    """The parts that it is made of by their numbers; −1 for what comes from other activations."""
    weights: int = 0


class Structure:
    """The program of a function whose last argument is the images, as activations that are made of each other."""

    def __init__(self, f: Callable[..., Any], *args: Any):
        program, result = program_of(f, *args)
        self._flow = Dataflow(program)
        graph = self._flow.graph
        self._images = graph.inputs[-1]
        self._seen = {self._images}
        for step in graph.list:
            if not self._seen.isdisjoint(step.reads):
                self._seen.update(step.makes)
        self._found = named(result, self._flow)
        self._owner: dict[int, str] = {}
        for array, (name, _) in self._found.items():
            self._owner.setdefault(self._flow.source(array), name)

    def links(self) -> list[Link]:
        """The activations in the order of computation."""
        return [self._link(name, array, tuple(struct.shape)) for array, (name, struct) in self._found.items()]

    def _link(self, name: str, array: int, shape: tuple[int, ...]) -> Link:
        steps, reads = self._behind(array, name)
        products = tuple(self._product(step) for step in steps if self._is_product(step))
        depth = self._depth(steps)
        shortcut = any(step.kind in SUMS and len({depth.get(a, 0) for a in self._made(step)}) > 1 for step in steps)
        return Link(name, shape, reads, products, shortcut)

    def parts(self, layer: str) -> list[Part]:
        """The operations of a layer in the order of computation, those that only hand on or shift numbers left out."""
        array = next(array for array, (name, _) in self._found.items() if name == layer)
        steps, _ = self._behind(array, layer)
        depth, parts = self._depth(steps), list[Part]()
        from_parts: dict[int, tuple[int, ...]] = {}
        for step in steps:
            reads = tuple(sorted({part for a in self._made(step) for part in from_parts.get(a, (-1,))}))
            label = self._label(step, depth) or (_JOINS.get(step.kind, step.kind) if len(reads) > 1 else "")
            if label and not (len(reads) == 1 and reads[0] >= 0 and parts[reads[0]].label == label == NORMALISED):
                weights = self._product(step).weights if self._is_product(step) else 0
                parts.append(Part(label, reads, weights))
                reads = (len(parts) - 1,)
            from_parts |= dict.fromkeys(step.makes, reads)
        return parts

    def _behind(self, array: int, name: str) -> tuple[list[Equation], tuple[str, ...]]:
        """The steps that make an activation of those before it, in order, and the names of these."""
        graph, pending, visited = self._flow.graph, [array], set[int]()
        steps: dict[int, Equation] = {}
        reads: dict[str, None] = {}
        while pending:
            array = pending.pop()
            if array in visited or array not in self._seen:
                continue
            visited.add(array)
            owner = self._owner.get(self._flow.source(array), name)
            if owner != name:
                reads[owner] = None
            elif array in graph.made_by:
                step = graph.made_by[array]
                steps[graph.position[array]] = step
                pending += step.reads
            else:
                reads[IMAGES] = None
        order = [IMAGES, *(name for name, _ in self._found.values())]
        return [steps[at] for at in sorted(steps)], tuple(sorted(reads, key=order.index))

    def _made(self, step: Equation) -> list[int]:
        """What a step reads that is made of the images."""
        return [array for array in step.reads if array in self._seen]

    def _depth(self, steps: Iterable[Equation]) -> dict[int, int]:
        """The products on the longest way to each array that the steps make."""
        depth: dict[int, int] = {}
        for step in steps:
            longest = max((depth.get(array, 0) for array in self._made(step)), default=0)
            depth |= dict.fromkeys(step.makes, longest + (step.kind in PRODUCTS))
        return depth

    def _is_product(self, step: Equation) -> bool:
        return step.kind in PRODUCTS and len(self._made(step)) == 1

    def _product(self, step: Equation) -> Product:
        eqn, operands = step.eqn, zip(step.eqn.invars, step.reads, strict=True)
        (weights,) = (_size(atom) for atom, array in operands if array not in self._seen)
        if step.kind != "conv_general_dilated":
            return Product("dense", (), (), 1, weights)
        spec, kernel = eqn.params["dimension_numbers"], _shape(eqn.invars[1])
        spread = max(eqn.params["lhs_dilation"]) > 1
        return Product(
            "transposed" if spread else "convolution",
            tuple(kernel[axis] for axis in spec.rhs_spec[2:]),
            tuple(eqn.params["lhs_dilation"] if spread else eqn.params["window_strides"]),
            eqn.params["feature_group_count"],
            weights,
        )

    def _label(self, step: Equation, depth: dict[int, int]) -> str:
        """What an operation is called; nothing where it is of no account."""
        made, kind = self._made(step), step.kind
        unequal = len({depth.get(array, 0) for array in made}) > 1
        if kind in PRODUCTS:
            return str(self._product(step)) if len(made) == 1 else "product"
        if kind in SUMS and unequal:
            return "+"
        if kind == "mul" and unequal:
            return "×"
        if kind == "mul" and len(made) == 1 and _size(step.eqn.invars[1 - step.reads.index(made[0])]) > 1:
            return NORMALISED
        if kind == "max" and len(made) == 1:
            return "ReLU"
        if kind == "pad" and step.eqn.params["padding_config"][-1][1] > 0:
            return "zeros appended"
        if kind.startswith("reduce_window"):
            size = "×".join(str(n) for n in step.eqn.params["window_dimensions"] if n > 1)
            return f"{'max' if 'max' in kind else 'sum'} over {size}" if size else ""
        return _CURVES.get(kind, "")


NORMALISED = "normalisation"
_JOINS = {"add": "+", "add_any": "+", "mul": "×", "concatenate": "concatenated"}
_CURVES = {"tanh": "tanh", "logistic": "sigmoid", "erf": "erf", "sin": "sin"}


def _shape(atom: Any) -> tuple[int, ...]:
    return () if isinstance(atom, Written) else atom.aval.shape


def _size(atom: Any) -> int:
    return math.prod(_shape(atom))
