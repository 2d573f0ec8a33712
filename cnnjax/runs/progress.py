"""How far an experiment is: bars on a terminal, a few plain lines anywhere else."""

import os
import sys
import time
from types import TracebackType

from cnnjax import dry_run, processes
from cnnjax.errors import InputError

_SIGN_OF_LIFE = 60.0  # seconds between plain lines inside a cell


class Progress:
    """Reports the cells of an experiment and the work inside each on the standard error; use it in a `with`.

    `cell` begins a cell, `skip` counts one that was finished earlier and `finished` one that is finished elsewhere,
    `status` says what is happening, `advance` how far the cell is, and `note` what shall stay to be read. Of several
    processes only process 0 reports. Raises InputError for fewer than one cell.
    """

    def __init__(self, total_cells: int):
        if total_cells < 1:
            raise InputError(f"An experiment of {total_cells} cells has nothing to do; give at least one.")
        self._total = total_cells
        self._seen = 0  # cells begun, skipped or finished elsewhere
        self._worked = 0  # cells that took time now
        self._name: str | None = None
        self._preparing = ""
        self._fraction = 0.0
        self._began = self._cell_began = self._last_line = time.monotonic()
        terminal = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._display = _Bars(total_cells) if terminal and processes.first() else None

    def prepare(self, done: int, total: int, text: str) -> None:
        """Say how far the work before the first cell is, such as decoding images."""
        if self._display:
            self._display.prepare(text, done, total)
        elif text != self._preparing:
            self._preparing = text
            self.note(text)

    def cell(self, name: str) -> None:
        """Begin the cell `name`; the one before it is over. Ends a dry run, with a line of what there would be."""
        if dry_run.folder() is not None:
            parts = f"{self._total} parts, first of all {name}" if self._total > 1 else name
            print(f"To compute: {parts}.")
            raise dry_run.Told
        self._end_cell()
        self._seen += 1
        self._name, self._fraction, self._cell_began = name, 0.0, time.monotonic()
        if self._display:
            self._display.cell(f"cell {self._seen} of {self._total}", name, self._remaining())
        else:
            self.note(f"[{self._seen}/{self._total}] {name}")

    def skip(self, name: str) -> None:
        """Count the cell `name` as finished earlier; it tells nothing about the time that the others take."""
        self._end_cell()
        self._seen += 1
        self.note(f"[{self._seen}/{self._total}] {name}: finished earlier")
        if self._display:
            self._display.overall(self._seen, self._remaining())

    def finished(self, name: str) -> None:
        """Count the cell `name` as finished just now by another process, at the same time as others."""
        self._end_cell()
        self._seen += 1
        self._worked += 1
        self.note(", ".join(filter(None, [f"[{self._seen}/{self._total}] {name}: done", self._remaining()])))
        if self._display:
            self._display.overall(self._seen, self._remaining())

    def status(self, text: str) -> None:
        """Say what is happening now, such as `compiling the training step`."""
        if self._display:
            self._display.inside(text)
        else:
            self.note(f"  {text}")

    def advance(self, done: int | float, total: int | float, text: str = "") -> None:
        """Say that `done` of `total`, such as epochs, lie behind; `text` is what one would watch, such as the loss."""
        self._fraction = done / total
        if self._display:
            self._display.inside(text, done, total)
            self._display.overall(self._seen - 1 + self._fraction, self._remaining())
        elif time.monotonic() - self._last_line >= _SIGN_OF_LIFE:
            self.note("  " + ", ".join(filter(None, [f"{done:g} of {total:g}", text, self._remaining()])))

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._last_line = time.monotonic()
        if self._display:
            self._display.print(text)
        elif processes.first():
            print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        self._began = time.monotonic()
        if self._display:
            self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._end_cell()
        if self._display:
            self._display.stop()
        if kind is None:
            self.note(f"{self._total} cell{'s' * (self._total > 1)} in {humanize(time.monotonic() - self._began)}")

    def _end_cell(self) -> None:
        if self._name is None:
            return
        name, self._name, self._fraction = self._name, None, 0.0
        self._worked += 1
        took = humanize(time.monotonic() - self._cell_began)
        if self._display:
            self._display.overall(self._seen, self._remaining())
            self.note(f"[{self._seen}/{self._total}] {name}: {took}")
        else:
            self.note(", ".join(filter(None, [f"  done in {took}", self._remaining()])))

    def _remaining(self) -> str:
        worked = self._worked + self._fraction
        left = self._total - self._seen + (1 - self._fraction if self._name else 0)
        if worked <= 0 or left <= 0:
            return ""
        return f"about {humanize((time.monotonic() - self._began) / worked * left)} left"


class _Bars:
    """Two bars of rich, the cells and the work inside one."""

    def __init__(self, total: int):
        import rich.console
        import rich.progress as rp

        self._progress = rp.Progress(
            rp.TextColumn("{task.description}", markup=False),
            rp.BarColumn(bar_width=24),
            rp.TaskProgressColumn(),
            rp.TextColumn("{task.fields[text]}", markup=False),
            console=rich.console.Console(stderr=True),
            redirect_stdout=sys.stdout.isatty(),  # what is piped elsewhere stays where it was sent
            refresh_per_second=4,  # the processor has better things to do
            transient=True,
        )
        self._overall = self._progress.add_task("starting", total=total, text="")
        self._inside = self._progress.add_task("", total=None, text="", visible=False)
        self.start, self.stop = self._progress.start, self._progress.stop

    def prepare(self, what: str, completed: int, total: int) -> None:
        self._progress.update(self._inside, description=what, completed=completed, total=total, visible=True)

    def cell(self, overall: str, name: str, remaining: str) -> None:
        self._progress.update(self._overall, description=overall, text=remaining)
        self._progress.reset(self._inside, description=name, total=None, text="", visible=True)

    def overall(self, completed: int | float, text: str) -> None:
        self._progress.update(self._overall, completed=completed, text=text)

    def inside(self, text: str, completed: int | float | None = None, total: int | float | None = None) -> None:
        self._progress.update(self._inside, completed=completed, total=total, text=text)

    def print(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)


def humanize(seconds: float) -> str:
    """A duration for people: `0.4 s`, `12 s`, `3 min 20 s`, `1 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
