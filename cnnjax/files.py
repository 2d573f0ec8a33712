"""Files that are either the old ones or the new ones, never half of either."""

import os
import secrets
import stat
import unicodedata
from pathlib import Path
from typing import BinaryIO


def write_atomic(path: Path, content: bytes | str) -> None:
    """Put `content` (text as UTF-8) at `path` in one step: even a kill leaves the old file or the new.

    Raises OSError where the folder is absent or cannot be written; what was at `path` is then untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    # In the same directory, because os.replace is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
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
