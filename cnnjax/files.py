"""Files that are either the old ones or the new ones, never half of either; and reading them back without surprises."""

import contextlib
import json
import os
import re
import secrets
import stat
import unicodedata
from pathlib import Path
from typing import Any, BinaryIO

from cnnjax.errors import InputError

_PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")
_DEPTH = 100  # of arrays and objects in a JSON file


def write_atomic(path: Path, content: bytes | str, *, keep: Path | None = None) -> None:
    """Put `content` (text as UTF-8) at `path` in one step: even a kill leaves the old file or the new.

    What was at `path` goes to `keep`, if that is given, in a step before.

    Raises OSError, which names `path`, where the folder is absent or cannot be written, and InputError where `path` is
    a folder itself; what was at `path` is then untouched.
    """
    if path.is_dir() and not path.is_symlink():
        raise InputError(f"{printable(path)} is a folder, and a file must be written there: move it away")
    data = content.encode() if isinstance(content, str) else content
    # In the same directory, because os.replace is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    except OSError as error:
        _discard(temporary)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    except BaseException:
        _discard(temporary)
        raise


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises OSError for anything else: a pipe in its place would wait for ever, a device never end.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{printable(path)} is not a regular file")
    return os.fdopen(descriptor, "rb")


def printable(path: str | Path) -> str:
    """Return a name or path as text that can be printed and kept in any file.

    Names on disk are bytes; those that are not UTF-8, control characters and ends of lines become Python's escapes.
    """
    return "".join(
        ascii(letter)[1:-1] if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter
        for letter in str(path)
    )


def remove_partial(folder: Path, name: str | None = None) -> None:
    """Remove what a process killed inside `write_atomic` has left in `folder`, of files called `name` if it is given.

    Nothing else is touched: no other name, no link, nothing in a folder below or behind a link.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for entry in os.scandir(folder):
        found = _PARTIAL.fullmatch(entry.name)
        if found and name in (None, found[1]) and entry.is_file(follow_symlinks=False):
            Path(entry.path).unlink(missing_ok=True)


def read_file(path: Path, remedy: str) -> bytes:
    """The content of a regular file.

    Raises `InputError`, which ends in `remedy`, for a file that is absent or cannot be read, and at once for a folder,
    a FIFO, a socket or a device, on which reading could wait for ever.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} cannot be read (it is not a file, but a folder, pipe or device): {remedy}")
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {remedy}") from error


def read_json(path: Path, remedy: str) -> Any:
    """The value of a JSON file in UTF-8; raises `InputError` as `read_file` does, and for what is not JSON."""
    return parse_json(read_file(path, remedy), path, remedy)


def parse_json(content: bytes | str, path: Path, remedy: str) -> Any:
    """The value of JSON text in UTF-8 that stands in `path`; raises `InputError`, which ends in `remedy`."""
    try:
        value = json.loads(content if isinstance(content, str) else content.decode())
        if _deeper(value, _DEPTH):
            raise ValueError(f"it is nested more than {_DEPTH} deep")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is corrupt ({error}): {remedy}") from error
    return value


def _deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            item
            for part in level
            if isinstance(part, dict | list)
            for item in (part.values() if isinstance(part, dict) else part)
            if isinstance(item, dict | list)
        ]
    return bool(level)


def _discard(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # its folder is gone, and so is it
        temporary.unlink(missing_ok=True)
