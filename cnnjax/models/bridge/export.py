"""A module of PyTorch as a `Graph`: exported for batches of any size, in evaluation mode. PyTorch is imported here."""

import copy
import inspect
import logging
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax.errors import InputError
from cnnjax.models.bridge.calls import call_names
from cnnjax.models.bridge.graph import Graph, Node, Ref
from cnnjax.models.bridge.modules import check_module, dataclass_as_dict
from cnnjax.models.bridge.outputs import chosen, leaf_names

_BATCH = 3  # of the example: torch.export takes 0 and 1 for sizes that never change
_PLACE = frozenset(
    ["dtype", "layout", "device", "pin_memory", "memory_format", "non_blocking", "copy", "generator", "implicit"]
)
"""Options that say where and how an array is kept."""


def export(
    module: Any, image_shape: tuple[int, int, int], *, known: Collection[str], output: str | int | None
) -> tuple[Graph, dict[str, dict[str, jax.Array]]]:
    """The graph of a module and its parameters and buffers by name; operations that are not `known` are taken apart.

    Raises InputError where PyTorch is missing, the module is none, export refuses it, or its output is not clear.
    """
    torch = imported()
    check_module(module)
    with _quiet(), torch.no_grad():
        module = copy.deepcopy(module).cpu().eval()
        module.register_forward_hook(dataclass_as_dict)
        dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
        height, width, channels = image_shape
        program = _exported(module, (_BATCH, channels, height, width), dtype)
        table = {op: f for op, f in torch.export.default_decompositions().items() if str(op) not in known}
        program = program.run_decompositions(table)
        return _graph(program, dtype, output), _variables(program)


def imported() -> Any:
    """PyTorch; InputError where it is not installed."""
    try:
        import torch
        import torch.export
    except ImportError as error:
        raise InputError("from_torch needs PyTorch: pip install 'cnnjax[torch]', or torch by itself") from error
    return torch


@contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch's own warnings, about its own code, are no user's business; what it refuses, it also raises."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _exported(module: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    import torch

    parameters = [*inspect.signature(module.forward).parameters.values()]
    sizes: Any = {0: torch.export.Dim("batch", min=1)}
    sizes = (sizes,) if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL else sizes
    try:
        example = torch.zeros(shape, dtype=dtype)
        return torch.export.export(module, (example,), dynamic_shapes=(sizes,), strict=False)
    except Exception as error:  # of many classes, most of them PyTorch's own
        shown = _shortened(str(error)) or type(error).__name__
        size = ", ".join(map(str, shape[1:]))
        raise InputError(
            f"torch.export refuses {type(module).__name__} on images (batch, {size}): {shown}. {_remedy(error)}"
        ) from error


def _remedy(error: Exception) -> str:
    message = f"{type(error).__name__}: {error}"
    if "DataDependent" in message or "data-dependent" in message or "control flow" in message:
        return (
            "Its path through the network depends on values: replace `if` and `while` on arrays by torch.where, and "
            "numbers taken from arrays by arrays, or give a module without that part"
        )
    if "Constraints violated" in message or "specialized" in message:
        return "The module works for one size of batch only: take the size from the array, x.shape[0], not from int()"
    if "not a known type" in message:
        return "Return arrays in a tuple, a dict or a dataclass"
    if "numpy" in message:
        return "Only what PyTorch computes is in its graph: use its functions in place of NumPy's"
    return "Call the module on such a batch in PyTorch first; and see that image_shape is (height, width, channels)"


def _shortened(message: str, limit: int = 200) -> str:
    """The first lines of PyTorch's message, without its advice to those who mend PyTorch, and where it arose."""
    first = re.split(r"\n\s*\n|For more information|See https?:|Caused by:", message.strip())[0]
    text = re.sub(r"\s*\((unhinted|Size-like)[^()]*(\([^()]*\)[^()]*)*\)", "", " ".join(first.split())).rstrip(". ")
    text = text if len(text) <= limit else text[:limit] + " ..."
    place = re.search(r"\w+\.py:\d+ in \w+", message)
    return f"{text} ({place[0]})" if place else text


def _graph(program: Any, dtype: Any, output: str | int | None) -> Graph:
    from torch.export.graph_signature import InputKind, OutputKind
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

    signature, nodes = program.graph_signature, list(program.graph.nodes)
    kinds = {spec.arg.name: spec for spec in signature.input_specs}
    inputs: dict[str, dict[str, str]] = {"params": {}, "buffers": {}}
    constants, images, dtypes = {}, [], {}
    for name, spec in kinds.items():
        match spec.kind:
            case InputKind.PARAMETER:
                inputs["params"][str(spec.target)] = name
            case InputKind.BUFFER if spec.persistent:
                inputs["buffers"][str(spec.target)] = name
            case InputKind.USER_INPUT:
                images.append(name)
            case InputKind.TOKEN:
                constants[name] = np.zeros(())
            case _:
                constants[name] = to_numpy(program.constants[str(spec.target)])
    shapes = {node.name: node.meta["val"] for node in nodes if "val" in node.meta}
    dtypes = {name: dtype_of(shapes[name].dtype) for name in [*inputs["params"].values(), *inputs["buffers"].values()]}
    calls = call_names([list((node.meta.get("nn_module_stack") or {}).items()) for node in nodes])
    for node, call in zip(nodes, calls, strict=True):
        if free_unbacked_symbols(node.meta.get("val")):
            place = f"module {_node(node, call).module}" if _node(node, call).module else "the network's own forward"
            raise InputError(
                f"{node.target} in {place} gives as many values as the values themselves say: jit needs a shape "
                "that is known before; replace it by torch.where"
            )
    made = [spec.arg for spec in signature.output_specs if spec.kind is OutputKind.USER_OUTPUT]
    names = leaf_names(program.call_spec.out_spec)
    # Numbers and None are not nodes.
    leaves = {name: Ref(arg.name) for name, arg in zip(names, made, strict=True) if getattr(arg, "name", "") in shapes}
    (first, *_) = images
    size = [None if not isinstance(n, int) else n for n in shapes[first].shape]
    return Graph(
        nodes=tuple(_node(node, call) for node, call in zip(nodes, calls, strict=True) if node.op not in _ENDS),
        images=first,
        image_shape=tuple(size),
        dtype=dtype_of(dtype),
        params=inputs["params"],
        buffers={name: x for name, x in inputs["buffers"].items() if _is_read(nodes, x)},
        dtypes=dtypes,
        constants=constants,
        outputs=chosen(leaves, output),
    )


_ENDS = ("placeholder", "output")


def _is_read(nodes: list[Any], name: str) -> bool:
    """Whether a buffer has a part in anything: counters of batches have none."""
    return any(node.name == name and node.users for node in nodes)


def _node(node: Any, calls: tuple[str, ...]) -> Node:
    target = node.target
    name = getattr(target, "__name__", str(target)) if type(target).__module__ != "torch._ops" else str(target)
    made, args = node.meta.get("val"), node.args
    if name == "with_effects":
        token, operation, *rest = args
        name, args = str(operation), (token, *rest)
    return Node(
        name=node.name,
        operation=name if node.op == "call_function" else node.op,
        args=tuple(map(_argument, args)),
        options={key: _argument(value) for key, value in node.kwargs.items() if key not in _PLACE},
        calls=calls,
        dtype=dtype_of(made.dtype) if hasattr(made, "dtype") else None,
    )


def _argument(value: Any) -> Any:
    import torch

    if isinstance(value, torch.fx.Node):
        return Ref(value.name)
    if isinstance(value, (list, tuple)):
        return [_argument(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _argument(one) for key, one in value.items()}
    elsewhere = (torch.dtype, torch.device, torch.layout, torch.memory_format)
    return None if isinstance(value, elsewhere) else value


def _variables(program: Any) -> dict[str, dict[str, jax.Array]]:
    signature, values = program.graph_signature, program.state_dict
    read = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    buffers = {str(name): x for x, name in signature.inputs_to_buffers.items() if x in read}
    kinds = {"params": list(signature.parameters), "buffers": [n for n in buffers if n in values]}
    # Copies: JAX may otherwise read memory that PyTorch writes.
    return {kind: {name: jnp.array(to_numpy(values[name])) for name in names} for kind, names in kinds.items()}


def to_numpy(tensor: Any) -> np.ndarray:
    """The values of a tensor; NumPy knows bfloat16 through JAX."""
    import torch

    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(jnp.bfloat16)
    return tensor.numpy()


def dtype_of(dtype: Any) -> np.dtype:
    """The dtype that JAX has for one of PyTorch's: without 64 bits, if those are off."""
    return np.dtype(jax.dtypes.canonicalize_dtype(jnp.dtype(str(dtype).removeprefix("torch."))))
