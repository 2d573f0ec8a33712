"""The layout of what XLA hands to a function that it calls, read from the header that comes with jaxlib.

Its interface (xla/ffi/api/c_api.h) is versioned and still changes. So the offsets of all fields are worked out from the
header itself, by the rules of C on 64 bits; a header that is missing or not understood means no kernels.
"""

import dataclasses
import functools
import re
import sys
from pathlib import Path

import jax

_SIZES = {"size_t": 8, "int64_t": 8, "uint64_t": 8, "int32_t": 4, "uint32_t": 4, "int": 4}


class UnknownFrameError(Exception):
    """The header is missing, or says something that this module does not understand."""


@dataclasses.dataclass(frozen=True)
class Struct:
    """A C struct: where its fields begin, in bytes, and its size."""

    offsets: dict[str, int]
    size: int

    def __getitem__(self, field: str) -> int:
        if field not in self.offsets:
            raise UnknownFrameError(f"no field {field} among {', '.join(self.offsets)}")
        return self.offsets[field]


@dataclasses.dataclass(frozen=True)
class Header:
    """The version of the interface, its structs by their names without the prefix XLA_FFI_, and its constants."""

    version: tuple[int, int]
    structs: dict[str, Struct]
    constants: dict[str, int]

    def __getitem__(self, struct: str) -> Struct:
        if struct not in self.structs:
            raise UnknownFrameError(f"no struct {struct}")
        return self.structs[struct]

    def constant(self, *names: str) -> int:
        """The value of the first of these names that there is."""
        for name in names:
            if name in self.constants:
                return self.constants[name]
        raise UnknownFrameError(f"no constant {names[0]}")


@functools.cache
def header() -> Header:
    """The header of this process's jaxlib. Raises UnknownFrameError."""
    if sys.maxsize < 2**32:
        raise UnknownFrameError("this is not a 64-bit process")
    path = Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"
    try:
        return read_header(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnknownFrameError(f"jaxlib's header cannot be read: {error}") from error


def read_header(text: str) -> Header:
    """Structs, constants and version of a header. Raises UnknownFrameError."""
    text = re.sub(r"//.*|/\*.*?\*/", "", text)
    numbers = {name: re.search(rf"#define XLA_FFI_API_{name} (\d+)", text) for name in ("MAJOR", "MINOR")}
    if not all(numbers.values()):
        raise UnknownFrameError("no version")
    major, minor = (int(found[1]) for found in numbers.values() if found)
    if major != 0:
        raise UnknownFrameError(f"version {major}.{minor}")
    constants = {name: int(value) for name, value in re.findall(r"\bXLA_FFI_(\w+) = (\d+)\b", text)}
    sizes = dict(_SIZES)
    sizes |= dict.fromkeys(re.findall(r"typedef enum \{[^}]*\} (\w+);", text), 4)
    sizes |= {new: sizes[old] for old, new in re.findall(r"typedef (\w+) (\w+);", text) if old in sizes}
    structs: dict[str, Struct] = {}
    for name, body in re.findall(r"struct XLA_FFI_(\w+) \{([^}]*)\}", text):
        structs[name] = _struct(body, sizes, structs)
    return Header((major, minor), structs, constants)


def _struct(body: str, sizes: dict[str, int], structs: dict[str, Struct]) -> Struct:
    offsets, end, widest = {}, 0, 1
    for declaration in filter(None, (" ".join(part.split()) for part in body.split(";"))):
        name, size, align = _field(declaration, sizes, structs)
        offsets[name] = -(-end // align) * align
        end, widest = offsets[name] + size, max(widest, align)
    return Struct(offsets, -(-end // widest) * widest)


def _field(declaration: str, sizes: dict[str, int], structs: dict[str, Struct]) -> tuple[str, int, int]:
    """Name, size and alignment."""
    if function := re.fullmatch(r"_XLA_FFI_API_STRUCT_FIELD\(XLA_FFI_(\w+)\)", declaration):
        return function[1], 8, 8
    if pointer := re.fullmatch(r"(?:const )?(?:struct )?\w+\s?\*+ (\w+)|void \(\*(\w+)\)\([^)]*\)", declaration):
        return pointer[1] or pointer[2], 8, 8
    if plain := re.fullmatch(r"(\w+) (\w+)", declaration):
        kind, name = plain.groups()
        if kind in sizes:
            return name, sizes[kind], sizes[kind]
        if (inner := structs.get(kind.removeprefix("XLA_FFI_"))) is not None:
            return name, inner.size, 8
    raise UnknownFrameError(f"a field that is not understood: {declaration}")
