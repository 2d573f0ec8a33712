"""The graph in a file of `torch.export.save` as a `Graph`, by its JSON only."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from cnnjax.errors import InputError
from cnnjax.models.bridge.archive import DTYPES, Archive
from cnnjax.models.bridge.calls import call_names
from cnnjax.models.bridge.graph import Graph, Node, Ref
from cnnjax.models.bridge.outputs import chosen, leaf_names

_POSITIONAL = 1
_PLACES = ("as_scalar_type", "as_layout", "as_device", "as_memory_format", "as_none")
"""Kinds of arguments that say where and how an array is kept, or nothing."""
_NAMED = ("as_tensor", "as_sym_int", "as_sym_bool", "as_sym_float", "as_optional_tensor")


class _Spec(NamedTuple):
    type: str | None
    context: Any
    children_specs: list["_Spec"]


def read(archive: Archive, *, output: str | int | None) -> tuple[Graph, dict[str, dict[str, np.ndarray]]]:
    """The graph in a file, and its parameters and buffers by name.

    Raises InputError for inputs that are no arrays, and for an output that is not clear.
    """
    module = archive.model["graph_module"]
    graph, signature = module["graph"], module["signature"]
    weights, others = archive.arrays("weights"), archive.arrays("constants")
    inputs: dict[str, dict[str, str]] = {"params": {}, "buffers": {}}
    constants, images = {}, []
    for spec in signature["input_specs"]:
        ((kind, value),) = spec.items()
        name = value["arg"].get("name", "")
        match kind:
            case "parameter":
                inputs["params"][value["parameter_name"]] = name
            case "buffer" if value["persistent"]:
                inputs["buffers"][value["buffer_name"]] = name
            case "buffer" | "tensor_constant":
                constants[name] = others[value["buffer_name" if kind == "buffer" else "tensor_constant_name"]]
            case "user_input" if "as_tensor" in value["arg"]:
                images.append(value["arg"]["as_tensor"]["name"])
            case "user_input" | "constant_input":
                continue
            case _:
                raise InputError(f"{archive.path} has an input of kind {kind}; give the module itself to from_torch")
    if len(images) != 1:
        raise InputError(f"{archive.path} takes {len(images)} arrays; a network here takes images only")
    values = graph["tensor_values"]
    used = {name for node in graph["nodes"] for name in _names(node["inputs"])}
    inputs["buffers"] = {name: x for name, x in inputs["buffers"].items() if x in used}
    sizes = [size.get("as_int") for size in values[images[0]]["sizes"]]
    calls = call_names([_stack(node["metadata"]) for node in graph["nodes"]])
    made = [spec["user_output"]["arg"] for spec in signature["output_specs"] if "user_output" in spec]
    names = leaf_names(_spec(json.loads(module["module_call_graph"][0]["signature"]["out_spec"])[1]))
    leaves = {name: _argument(arg) for name, arg in zip(names, made, strict=True) if "as_tensor" in arg}
    result = Graph(
        nodes=tuple(
            one for node, call in zip(graph["nodes"], calls, strict=True) for one in _nodes(node, call, values)
        ),
        images=images[0],
        image_shape=tuple(sizes),
        dtype=_dtype(values[images[0]]),
        params=inputs["params"],
        buffers=inputs["buffers"],
        dtypes={name: _dtype(values[name]) for kind in inputs.values() for name in kind.values()},
        constants=constants,
        outputs=chosen(leaves, output),
    )
    return result, {kind: {name: weights[name] for name in named} for kind, named in inputs.items()}


def _dtype(meta: Mapping[str, Any]) -> np.dtype:
    return np.dtype(jax.dtypes.canonicalize_dtype(DTYPES[meta["dtype"]]))


def _nodes(node: Mapping[str, Any], calls: tuple[str, ...], values: Mapping[str, Any]) -> Iterator[Node]:
    """A node, and where it makes several arrays one more for each of them."""
    target = node["target"].removeprefix("torch.ops.")
    operation = target if target != node["target"] else target.rpartition(".")[2]
    arguments = [(one["name"], one.get("kind"), one["arg"]) for one in node["inputs"]]
    args = tuple(_argument(arg) for _, kind, arg in arguments if kind == _POSITIONAL)
    options = {name: _argument(arg) for name, kind, arg in arguments if kind != _POSITIONAL and not _places(arg)}
    outputs = [arg for arg in node["outputs"] if "as_none" not in arg]
    several = len(outputs) > 1 or any("as_tensors" in arg for arg in outputs)
    made = list(_names([{"arg": arg} for arg in outputs]))
    name = node.get("name") or "+".join(made)
    if not several:
        name = made[0] if made else name
        yield Node(name, operation, args, options, calls, _dtype(values[name]) if name in values else None)
        return
    yield Node(name, operation, args, options, calls, None)
    for number, one in enumerate(made):
        yield Node(one, "getitem", (Ref(name), number), {}, calls, _dtype(values[one]))


def _argument(arg: Mapping[str, Any]) -> Any:
    ((kind, value),) = arg.items()
    if kind in _PLACES:
        return None
    if kind in _NAMED:
        if "name" in value or "as_name" in value:
            return Ref(value.get("name", value.get("as_name")))
        return _argument(value)
    if kind in ("as_tensors", "as_sym_ints", "as_sym_bools", "as_sym_floats", "as_optional_tensors"):
        return [_argument({"as_sym_int": one}) for one in value]
    if kind in ("as_float", "as_floats"):
        return float(value) if kind == "as_float" else list(map(float, value))
    if kind in ("as_int", "as_ints", "as_bool", "as_bools", "as_string", "as_strings", "as_int_lists"):
        return value
    raise InputError(f"the graph has an argument of kind {kind}; give the module itself to from_torch")


def _places(arg: Mapping[str, Any]) -> bool:
    return next(iter(arg)) in _PLACES


def _names(arguments: list[Mapping[str, Any]]) -> Iterator[str]:
    for one in arguments:
        value = _argument(one["arg"]) if not {"as_graph", "as_operator", "as_custom_obj"} & one["arg"].keys() else None
        for ref in value if isinstance(value, list) else [value]:
            if isinstance(ref, Ref):
                yield ref.name


def _stack(metadata: Mapping[str, str]) -> list[tuple[str, Any]]:
    items = [item.split(",") for item in metadata.get("nn_module_stack", "").split(";") if item]
    return [(key, (path,)) for key, path, *_ in items if not key.startswith("_empty_")]


def _spec(spec: Mapping[str, Any]) -> _Spec:
    try:
        context = json.loads(spec["context"] or "null")
    except ValueError:
        context = None
    return _Spec(spec["type"], context, [_spec(child) for child in spec["children_spec"]])
