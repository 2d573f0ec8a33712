"""Files of process 0 in the hands of the others, which have no run directory: each keeps a copy that goes with it."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from cnnjax import processes


def mirrored(path: Path) -> Path:
    """Where this process keeps a run that is open at `path` in process 0; there it is `path` itself.

    All processes call it together. The others get what the run needs to go on: neither its lock nor its figures.
    """
    if processes.count() == 1:
        return path
    packed = processes.agreed(lambda: _packed(path, _needed(path)))
    return path if processes.first() else _unpacked(packed, processes.scratch())


def share(folder: Path, *names: str) -> None:
    """Give all processes, in their own `folder`, those of the files of these names that process 0 has in its one."""
    if processes.count() == 1:
        return
    packed = processes.agreed(lambda: _packed(folder, [folder / name for name in names if (folder / name).exists()]))
    if not processes.first():
        _unpacked(packed, folder)


def _needed(path: Path) -> Iterable[Path]:
    yield from (entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    if (path / "cells").is_dir():
        yield from (file for file in (path / "cells").rglob("*") if file.is_file() and not file.name.startswith("."))


def _packed(folder: Path, files: Iterable[Path]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for file in files:
            archive.add(file, arcname=file.relative_to(folder))
    return content.getvalue()


def _unpacked(packed: bytes, folder: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder
