"""The arrays of a safetensors file by name; one message for a file that is none, and for arrays that are others."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from cnnjax.errors import InputError

FLOATS = ("BF16", "F16", "F32", "F64")
ZIP_OR_PICKLE = (b"PK\x03\x04", b"\x80")
PICKLED = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
SHOWN = 8
"""How many arrays of a kind an error names."""
CONVERSION = """
import torch; from safetensors.torch import save_file
kept = torch.load({path!r}, map_location='cpu', weights_only=False)
names = [name for name in ('state_dict', 'model_state_dict', 'model') if isinstance(kept, dict) and name in kept]
kept = kept[names[0]] if names else kept
kept = kept if isinstance(kept, dict) else kept.state_dict()
save_file({{name: x.contiguous().clone() for name, x in kept.items() if torch.is_tensor(x)}}, {converted!r})
"""
"""From what `torch.save` writes: a module, its weights, or a dictionary that has either among other things."""


class Arrays:
    """The arrays in a file, which are read when asked for. What stands before all names is left out.

    `anchor` is a name that the file should have: what stands before it is left out if it stands before all. `also` are
    layers that may have another name in it, and the name that they get here; their kernels are those of dense layers.
    Raises `InputError` for what is no safetensors file.
    """

    def __init__(self, path: Path, anchor: str, also: Mapping[str, str]):
        self.file = _opened(path)
        names = list(self.file.keys())
        before = (name.removesuffix(anchor) for name in names if name.endswith(anchor))
        self.prefix = next((start for start in before if all(name.startswith(start) for name in names)), "")
        self.there: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.described: dict[str, str] = {}
        for name in names:
            layer, dot, parameter = name.removeprefix(self.prefix).rpartition(".")
            view, here = self.file.get_slice(name), also.get(layer, layer) + dot + parameter
            shape = tuple(view.get_shape())
            if layer in also and len(shape) > 2:
                shape = (shape[0], math.prod(shape[1:]))
            self.there[here], self.shapes[here] = name, shape
            self.described[here] = described(shape, view.get_dtype())

    def size(self, name: str, axis: int) -> int | None:
        """The length of an array along an axis, None where there is none."""
        shape = self.shapes.get(name, ())
        return shape[axis] if axis < len(shape) else None

    def read(self, name: str) -> np.ndarray:
        """The array of that name."""
        return self.file.get_tensor(self.there[name]).reshape(self.shapes[name])


def described(shape: Iterable[int], dtype: str = "F32") -> str:
    """An array in an error: its shape, and its dtype if that is not floating point."""
    return ("" if dtype in FLOATS else f"{dtype} ") + str(list(shape))


def problems(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """A line for each kind of difference, nothing where there is none."""
    differ = [name for name in sorted(expected) if found.get(name, expected[name]) != expected[name]]
    kinds = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "of another shape": [f"{name} is {found[name]}, not {expected[name]}" for name in differ],
    }
    lines = [f"\n  {kind} ({len(names)}): {_listed(names)}" for kind, names in kinds.items() if names]
    return "".join(lines)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _opened(path: Path) -> safe_open:
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        with path.open("rb") as file:
            start = file.read(4)
        if start.startswith(ZIP_OR_PICKLE) or path.suffix.lower() in PICKLED:
            converted = str(path.with_suffix(".converted.safetensors"))
            raise InputError(
                f"{path} is a pickle, as torch.save writes it, or is named like one; it is not opened, since reading "
                "one can execute anything. If you trust its source, convert it in Python, which executes what it holds:"
                + CONVERSION.format(path=str(path), converted=converted)
            ) from error
        raise InputError(f"{path} is no safetensors file, or a damaged one ({error}): fetch it again") from error
