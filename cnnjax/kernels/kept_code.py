"""Machine code that is kept between processes, in a folder that only its user can write."""

import functools
import hashlib
import os
import stat
from pathlib import Path

from cnnjax.files import write_atomic
from cnnjax.runtime import cache_directory


def key(*parts: str) -> str:
    """A name for what depends on these parts, on this version of the generators, and on nothing else."""
    return hashlib.sha256("\0".join((_generators(), *parts)).encode()).hexdigest()[:40]


@functools.cache
def _generators() -> str:
    return hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    ).hexdigest()


def kept(name: str) -> bytes | None:
    """The code of this name; None where there is none, or where it is damaged or may be another's."""
    folder = _folder()
    if folder is None:
        return None
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(file.fileno()).st_uid != os.geteuid():
            return None
        digest, code = file.read(32), file.read()
    return code if hashlib.sha256(code).digest() == digest else None


def keep(name: str, code: bytes) -> None:
    """Keep code under a name, where there is a folder that can hold it."""
    if (folder := _folder()) is not None:
        try:
            write_atomic(folder / name, hashlib.sha256(code).digest() + code)
        except OSError:
            return  # a full or read-only disk: it is compiled anew next time


def _folder() -> Path | None:
    """The folder, made if need be; None where somebody else could write into it, or the system cannot tell."""
    if not hasattr(os, "getuid") or (root := cache_directory()) is None:
        return None
    folder = root / "kernels"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = folder.lstat()
    except OSError:
        return None
    own = there.st_uid == os.geteuid() and not there.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return folder if stat.S_ISDIR(there.st_mode) and own else None
