"""A run is a directory that tells the whole story, survives a kill at any instant, and belongs to one process."""

import contextlib
import errno
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np

from cnnjax import dry_run, processes
from cnnjax.door import checked
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.files import write_atomic
from cnnjax.runs.begun import config_text, write_config
from cnnjax.runs.folder import Folder
from cnnjax.runs.mirror import mirrored
from cnnjax.runs.progress import Progress
from cnnjax.runs.records import RunWarning, encode_record, mend_metrics
from cnnjax.runs.settings import CELL_NAME, readable_id, safe_name, to_json

if TYPE_CHECKING:
    import pandas


class RunDirectory:
    """An open run, made by `open_run`: config.json, metrics.jsonl, tables, figures/ and cells/.

    `path` is its absolute path; a cell keeps what it needs, such as checkpoints, in its own folder `cell(name)`.
    `identity` names the experiment and its settings: what a cell keeps is marked with it, lest another run takes it.
    """

    def __init__(
        self, path: Path, document: Mapping[str, Any], lock: filelock.BaseFileLock, undo: contextlib.ExitStack
    ):
        self.path = path
        self.identity: str = document["identity"]
        self._document = document
        self._lock = lock
        self._undo = undo
        self._metrics = os.open(path / "metrics.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def cell(self, name: str) -> Folder:
        """The folder `cells/<name>`, made if need be; raises InputError for a name unfit for a file."""
        if not CELL_NAME.fullmatch(name):
            raise InputError(f"The cell name {name!r} is unfit for a file; use letters, digits and ._=,+- only.")
        return Folder(self._made("cells", name), f"{self.identity}/{name}")

    def once(
        self,
        cell: str,
        name: str,
        measure: Callable[..., Any],
        *,
        progress: Progress,
        title: str | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Any:
        """What `measure()` returns, from the file `name` of a cell where it was measured earlier.

        It is JSON where `name` ends in .json, and arrays by their names where it ends in .safetensors. With `seeds`
        arrays have a leading axis of them, and `measure(seeds)` is asked for those only that the file has not: a run
        that grows has more. `progress` is told of it as `title`, by default the cell. Raises InputError for a damaged
        file, or another's.
        """
        folder, title = self.cell(cell), cell if title is None else title
        plain = name.endswith(".json")
        before = folder.arrays(name) if seeds is not None and folder.has(name) else {}
        missing = None if seeds is None else seeds[len(next(iter(before.values()), ())) :]
        if folder.has(name) and not missing:
            progress.skip(title)
        else:
            progress.cell(title)
            began = time.perf_counter()
            value = measure() if missing is None else measure(missing)  # in every process, for it may train
            value = {key: np.concatenate([before[key], value[key]]) for key in before} or value
            self.log(cell=title, seconds=time.perf_counter() - began)
            (folder.save_json if plain else folder.save)(name, value)
            folder.share(name)
        return folder.json(name) if plain else folder.arrays(name)

    @property
    def figures(self) -> Path:
        """The directory `figures`, made if need be."""
        return self._made("figures")

    def log(self, **record: Any) -> None:
        """Append a record to metrics.jsonl as one line in one write; a number that is not finite becomes null.

        Raises InputError for a value that is not text, a number (NumPy's and JAX's scalars are), a truth value or None,
        and OSError, which names the file, where it cannot be written or was removed.
        """
        line = encode_record(record)
        try:
            fault = errno.ENOSPC if os.write(self._metrics, line) < len(line) else 0
        except OSError as error:
            fault = error.errno or errno.EIO
        if fault or not os.fstat(self._metrics).st_nlink:
            fault = fault or errno.ENOENT
            raise OSError(fault, os.strerror(fault), str(self.path / "metrics.jsonl"))

    def write_table(self, name: str, frame: "pandas.DataFrame") -> None:
        """Write the table `<name>.csv`: equal tables are equal files, numbers with all their digits.

        The one called summary, which `read_summary` reads, has one row for each cell and seed.
        """
        narrow = frame.select_dtypes(["float16", "float32"]).columns
        text = frame.astype(dict.fromkeys(narrow, "float64")).to_csv(index=False, lineterminator="\n")
        write_atomic(self.path / f"{name}.csv", text)

    def close(self) -> None:
        """Let the directory go; another process may then open it.

        A config.json that was removed meanwhile is written again, with a RunWarning: without it this is not a run.
        """
        if self._lock.is_locked:
            try:
                self._restore_config()
            finally:
                os.close(self._metrics)
                self._lock.release()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, InputError) and not (self.path / "cells").exists():
            os.close(self._metrics)
            self._undo.close()  # while the directory is locked: no one else can have begun to use it
        else:
            with contextlib.nullcontext() if error is None else contextlib.suppress(OSError):
                self.close()

    def _made(self, *parts: str) -> Path:
        """A folder inside the run, made if need be; OSError where the run itself has gone, which is not made anew."""
        folder = self.path
        for part in parts:
            folder = folder / part
            folder.mkdir(exist_ok=True)
        return folder

    def _restore_config(self) -> None:
        ours = os.fstat(self._metrics)
        metrics, config = self.path / "metrics.jsonl", self.path / "config.json"
        if metrics.exists() and os.path.samestat(metrics.stat(), ours) and not config.exists():
            write_atomic(config, config_text(self._document))
            warnings.warn(f"{config} was removed while the run worked; it is written again.", RunWarning, stacklevel=3)


WHERE_AND_HOW = (
    *("out", "engine"),
    *("data.memory", "data.workers"),
    *("train.devices", "train.shard_parameters"),
)
"""Fields that say where or how, but not what: a run goes on with others."""


@checked()
def open_run(
    experiment: str,
    config: Any,
    *,
    root: Path = Path("runs"),
    out: Path | None = None,
    ignore: Sequence[str] = WHERE_AND_HOW,
    grows: Sequence[str] = (),
) -> RunDirectory:
    """Open the directory of a run, a new one or one to go on with, and hold it until it is closed: use it in a `with`.

    It lies at `root/experiment/<id>`, where the id follows from the frozen dataclass `config`, so that the same command
    goes on where it was; `out` names another place. `ignore` lists the (dotted) fields that say where or how, but not
    what: they are recorded, and may differ when a run goes on. `grows` lists those of which a run may get more, so that
    it keeps what stands: whole numbers, such as of seeds, and choices, such as of cells. A run that was begun with
    other versions, on another device or at another commit goes on with a RunWarning, and that is recorded. Starts JAX's
    backend. In a dry run it is a directory that goes with it, and so it is in all of several processes but process 0
    (`cnnjax.processes`).

    Raises InputError where the directory cannot be written, is open in another process, or holds something else, where
    its config.json or metrics.jsonl is corrupt, and where it was begun with other settings, or with more of what
    `grows`, naming each with both values. What was made for it is then removed, also where an InputError ends the
    `with` before any cell was begun.
    """
    settings = to_json(config)
    if not isinstance(settings, dict):
        raise InputError(f"config={shown(config)} must be a dataclass, or a dict.")
    path = (out or root / safe_name(experiment) / readable_id(settings, ignore)).expanduser().absolute()
    path = dry_run.folder() or path
    processes.meet()
    if not processes.first():
        path = mirrored(path)
    try:
        with contextlib.ExitStack() as undo:
            lock = _claim(path, undo)
            document = write_config(path, experiment, settings, ignore, grows)
            mend_metrics(path)
            run = RunDirectory(path, document, lock, undo)
            if processes.first():
                mirrored(path)
            run._undo = undo.pop_all()
            return run
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"The run directory {path} cannot be written: {reason}; name another with `out`.") from error


def _claim(path: Path, undo: contextlib.ExitStack) -> filelock.BaseFileLock:
    """Make and lock a directory; `undo` takes back what was made."""
    for folder in reversed([path, *path.parents]):
        if not folder.exists():
            with contextlib.suppress(FileExistsError):  # another process was quicker
                folder.mkdir()
                undo.callback(_remove_empty, folder)
    _refuse_other_content(path)
    new = not (path / "config.json").exists()
    made = [
        name for name in (".lock", *(("config.json", "metrics.jsonl") if new else ())) if not (path / name).exists()
    ]
    lock = filelock.FileLock(path / ".lock", thread_local=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise InputError(
            f"The run directory {path} is open in another process; wait until that ends, or name another directory."
        ) from None
    undo.callback(lock.release)
    for name in made:
        undo.callback((path / name).unlink, missing_ok=True)
    return lock


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # another process has begun to use it
        folder.rmdir()


def _refuse_other_content(path: Path) -> None:
    # A kill before config.json was there leaves hidden files at most, and an empty lock.
    names = sorted(entry.name for entry in path.iterdir())
    other = [name for name in names if not name.startswith(".")]
    if other and "config.json" not in names:
        held = ", ".join(other[:5])
        raise InputError(f"{path} holds {held}, but no config.json, so it is not a run; name a new or empty directory.")
    lock = path / ".lock"
    if (
        lock.is_symlink()
        or (lock.exists() and not lock.is_file())
        or (not other and lock.exists() and lock.stat().st_size > 0)
    ):
        raise InputError(f"{lock} is not the lock of a run; remove it, or name another directory.")
