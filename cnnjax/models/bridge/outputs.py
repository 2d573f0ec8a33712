"""What a module returns: arrays in tuples, dicts and classes, of which one is taken for the logits."""

from collections.abc import Mapping, Sequence
from typing import Any

from cnnjax.errors import InputError


def leaf_names(spec: Any, prefix: str = "") -> list[str]:
    """Where the arrays in an output stand, by PyTorch's account of it: "logits", "states.0"; "" for a single one."""
    children = spec.children() if callable(getattr(spec, "children", None)) else spec.children_specs
    if spec.type is None or not children:
        return [prefix]
    keys = _keys(spec.context, len(children))
    return [name for key, child in zip(keys, children, strict=True) for name in leaf_names(child, _joined(prefix, key))]


def chosen(leaves: Mapping[str, Any], output: str | int | None) -> Any:
    """The array that is taken for the logits: the only one, the one called "logits", or the one that is asked for.

    Raises InputError where that is none of them, or none of these is clear.
    """
    if output is not None:
        if str(output) in leaves:
            return leaves[str(output)]
        raise InputError(f"output={output!r} is not among what the module returns: {_listed(leaves)}")
    named = [name for name in leaves if name.rpartition(".")[-1] == "logits"]
    if len(leaves) == 1 or len(named) == 1:
        return leaves[named[0] if named else next(iter(leaves))]
    if not leaves:
        raise InputError("the module returns no array")
    first = next(iter(leaves))
    example = first if first.isdecimal() else repr(first)
    raise InputError(f"the module returns {_listed(leaves)}: say which are the logits, as output={example}")


def _keys(context: Any, count: int) -> Sequence[Any]:
    fields = getattr(context, "_fields", None)
    first = context[0] if isinstance(context, (list, tuple)) and context else None
    for keys in (fields, context, first):
        if isinstance(keys, (list, tuple)) and len(keys) == count and all(isinstance(key, str) for key in keys):
            return keys
    return range(count)


def _joined(prefix: str, key: Any) -> str:
    return f"{prefix}.{key}" if prefix else str(key)


def _listed(leaves: Mapping[str, Any]) -> str:
    return ", ".join(name or "one array" for name in leaves)
