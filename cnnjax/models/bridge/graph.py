"""A graph of PyTorch's as plain records: operations by name, in the order of computation."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np


class Ref(NamedTuple):
    """The result of another node, or an input of the graph, as an argument."""

    name: str


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation."""

    name: str
    operation: str
    """Its name and overload, as "aten.relu.default"; "getitem", "add" and so on for what is done to Python's values."""
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    calls: tuple[str, ...]
    """The calls of modules that it stands in, the outermost first: a path, with "@1" behind it in the second call."""
    dtype: np.dtype | None
    """That of the result; None where it is a number, or several arrays."""

    @property
    def module(self) -> str:
        """The path of the module that it stands in."""
        return self.calls[-1].partition("@")[0] if self.calls else ""


@dataclasses.dataclass(frozen=True)
class Graph:
    """A network: its nodes, what they read and what it returns."""

    nodes: tuple[Node, ...]
    images: str
    """The input that images go to."""
    image_shape: tuple[int | None, ...]
    """(batch, channels, height, width) there; None for a batch of any size."""
    dtype: np.dtype
    """Of the images there."""
    params: Mapping[str, str]
    """The input of each parameter, by the parameter's name."""
    buffers: Mapping[str, str]
    dtypes: Mapping[str, np.dtype]
    """Of parameters and buffers, by the names of their inputs."""
    constants: Mapping[str, np.ndarray]
    """Values of inputs that are neither."""
    outputs: Any
    """What is returned: a tree of `Ref`s and other values."""


def refs(value: Any) -> Iterator[str]:
    """The names of all results that an argument holds."""
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from refs(one)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from refs(one)


def exchanged(value: Any, read: Callable[[str], Any]) -> Any:
    """An argument with what `read` makes of each name in place of the results."""
    if isinstance(value, Ref):
        return read(value.name)
    if isinstance(value, Mapping):
        return {key: exchanged(one, read) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(exchanged(one, read) for one in value)
    return value
