"""Decoded arrays kept between runs: written whole or not at all, and never trusted when damaged."""

import hashlib
import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnnjax.files import open_file
from cnnjax.runtime import cache_directory

Arrays = dict[str, Any]
"""NumPy arrays by name."""

LAYOUT = 2
"""Part of every key: raise it when the same options come to mean other arrays."""


def cached(name: str, key: Mapping[str, object], make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays that `make` gives, or the file of an earlier call with the same `name` and `key`.

    `key` holds JSON values that determine the arrays: options, version, fingerprint of the source files. A damaged
    file and a directory that cannot be written each give one warning and cost one more call of `make`.
    """
    folder = cache_directory()
    if folder is None:
        return make()
    text = json.dumps({"layout": LAYOUT, "name": name, **key}, sort_keys=True)
    safe = "".join(letter if letter.isalnum() else "_" for letter in name)
    path = folder / "data" / f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"
    arrays = _read(path)
    if arrays is None:
        arrays = make()
        _write(path, arrays)
    return arrays


def fingerprint(files: list[Path]) -> str:
    """Return a digest of the names, sizes and modification times of `files`: it changes when one is replaced."""
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(os.fsencode(file) + f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _read(path: Path) -> Arrays | None:
    try:
        # A zip member carries a checksum, which NumPy verifies while reading it.
        with open_file(path) as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        warnings.warn(f"the cached images {path} are damaged ({error}); decoding them again", stacklevel=3)
        return None


def _write(path: Path, arrays: Arrays) -> None:
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own for every process; the rename then replaces the file in one step, so that a reader or a
        # second writer sees a whole file or none.
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f"{path.stem}-", suffix=".partial", delete=False
        ) as file:
            partial = Path(file.name)
            np.savez(file, **arrays)
        partial.replace(path)
    except OSError as error:
        warnings.warn(
            f"decoded images cannot be kept in {path.parent} ({error}); they will be decoded again next time. "
            "Set CNNJAX_CACHE to a directory that can be written",
            stacklevel=3,
        )
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
