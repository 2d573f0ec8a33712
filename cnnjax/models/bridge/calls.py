"""Which call of which module a node stands in, and what each call returns."""

import collections
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from cnnjax.models.bridge.graph import Graph, refs

Stack = Sequence[tuple[str, Any]]
"""PyTorch's account of a node's modules, the outermost first: a key for each call, and the path of the module."""


def call_names(stacks: Sequence[Stack]) -> list[tuple[str, ...]]:
    """For each node the names of the calls that it stands in: the path, and "@1" behind it in the second call.

    A node without an account, as PyTorch leaves it where it takes an operation apart, stands in what its neighbours
    have in common.
    """
    names: dict[str, str] = {}
    counts = collections.Counter[str]()
    for key, (path, *_) in itertools.chain.from_iterable(stacks):
        if key not in names:
            names[key] = f"{path}@{counts[path]}" if counts[path] else path
            counts[path] += 1
    known = [tuple(names[key] for key, _ in stack) for stack in stacks]
    before = list(itertools.accumulate(known, lambda last, this: this or last))
    after = list(itertools.accumulate(reversed(known), lambda last, this: this or last))[::-1]
    found = [this or _shared(*around) for this, *around in zip(known, before, after, strict=True)]
    # The outermost is the network itself.
    return [calls[1:] for calls in found]


def _shared(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    both = zip(first, second, strict=False)
    return tuple(one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], both))


def returned(graph: Graph) -> dict[str, list[str]]:
    """By the name of a node: the activations that it is, the innermost call first.

    A call returns what is made in it and read outside it. One that returns several arrays has each by number:
    "encoder[0]", "encoder[1]".
    """
    calls = {node.name: node.calls for node in graph.nodes}
    outside: dict[str, dict[str, None]] = {}

    def read(name: str, reader: tuple[str, ...]) -> None:
        for call in calls.get(name, ()):
            if call not in reader:
                outside.setdefault(call, {})[name] = None

    for node in graph.nodes:
        for name in refs((node.args, node.options)):
            read(name, node.calls)
    for name in refs(graph.outputs):
        read(name, ())
    order = {node.name: position for position, node in enumerate(graph.nodes)}
    arrays = {node.name for node in graph.nodes if node.dtype is not None}
    found: Mapping[str, list[str]] = {
        call: sorted((n for n in names if n in arrays), key=order.__getitem__) for call, names in outside.items()
    }
    results = collections.defaultdict(list)
    for call in sorted(found, key=_depth(calls), reverse=True):
        for number, name in enumerate(found[call]):
            results[name].append(call if len(found[call]) == 1 else f"{call}[{number}]")
    return {name: results[name] for name in sorted(results, key=order.__getitem__)}


def _depth(calls: Mapping[str, tuple[str, ...]]) -> Any:
    depths = {call: depth for stack in calls.values() for depth, call in enumerate(stack)}
    return depths.__getitem__
