"""The file that `torch.export.save` writes (.pt2): a zip of JSON and of raw arrays, read without executing anything."""

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from cnnjax.errors import InputError

PICKLE = b"\x80"
"""What a pickle begins with."""
SCHEMA = 8
"""The major version of PyTorch's description of graphs that is read here; PyTorch 2.13 writes it."""
DTYPES: Mapping[int, Any] = {
    1: np.uint8,
    2: np.int8,
    3: np.int16,
    4: np.int32,
    5: np.int64,
    6: np.float16,
    7: np.float32,
    8: np.float64,
    12: np.bool_,
    13: jnp.bfloat16,
}
"""By the numbers that PyTorch's files have for dtypes."""


class Archive:
    """An opened file: the description of its graph, and its arrays by name.

    Raises InputError for what is no such file, for one of another schema, and for arrays that are pickled.
    """

    def __init__(self, path: Path):
        if not path.is_file():
            raise InputError(f"there is no file {path}")
        self.path = path
        if _is_pickled(path):
            raise InputError(
                f"{path} is pickled, by torch.save or torch.jit.save; it is not opened, since reading a pickle can "
                "execute anything. If you trust its source, give the module to from_torch, after "
                f"module.load_state_dict(torch.load({str(path)!r}, weights_only=True))"
            )
        try:
            self._zip = zipfile.ZipFile(path)
            (model,) = (name for name in self._zip.namelist() if _inside(name).startswith("models/"))
            self._start = model.removesuffix(_inside(model))
            self._name = Path(model).stem
            self.model: dict[str, Any] = json.loads(self._zip.read(model))
            schema = self.model["schema_version"]["major"]
        except (zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not a file of one program, as torch.export.save writes it") from error
        if schema != SCHEMA or self._read("byteorder").strip() not in (b"little", b""):
            written = self.model.get("torch_version", "another version")
            raise InputError(
                f"{path} was written by PyTorch {written} in schema {schema}; schema {SCHEMA} is read, which PyTorch "
                "2.13 writes on machines with little-endian numbers: export anew"
            )

    def arrays(self, kind: str) -> dict[str, np.ndarray]:
        """The arrays called "weights" or "constants", by their names."""
        config = self._read(f"data/{kind}/{self._name}_{kind}_config.json")
        entries = json.loads(config)["config"] if config else {}
        return {name: self._array(kind, name, entry) for name, entry in entries.items()}

    def _array(self, kind: str, name: str, entry: Mapping[str, Any]) -> np.ndarray:
        meta = entry.get("tensor_meta")
        if entry.get("use_pickle") or meta is None or meta["dtype"] not in DTYPES:
            raise InputError(
                f"{name} in {self.path} is pickled, or no array of numbers; it is not opened, since reading a pickle "
                "can execute anything. Give the module itself to from_torch"
            )
        dtype = np.dtype(DTYPES[meta["dtype"]])
        shape, strides = ([n["as_int"] for n in meta[key]] for key in ("sizes", "strides"))
        data = self._read(f"data/{kind}/{entry['path_name']}")
        if not math.prod(shape):
            return np.zeros(shape, dtype)
        try:
            # NumPy refuses what would lie outside the bytes.
            steps = [n * dtype.itemsize for n in strides]
            return np.ndarray(shape, dtype, data, meta["storage_offset"]["as_int"] * dtype.itemsize, steps).copy()
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} in {self.path} is damaged: fetch the file again") from error

    def _read(self, name: str) -> bytes:
        try:
            return self._zip.read(self._start + name)
        except KeyError:
            return b""


def _is_pickled(path: Path) -> bool:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            return any(name.rpartition("/")[2] == "data.pkl" for name in file.namelist())
    with path.open("rb") as file:
        return file.read(1) == PICKLE


def _inside(name: str) -> str:
    """A name in the archive without the folder that holds everything."""
    return name.partition("/")[2]
