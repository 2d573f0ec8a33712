"""How a command ends that cannot go on: one line that says what to do, a status of its own, and no traceback."""

import contextlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

from cnnjax.errors import InputError

GOES_ON = "the same command goes on where this one was"


class _Terminated(BaseException):
    """SIGTERM came."""


@contextlib.contextmanager
def one_line_endings() -> Iterator[None]:
    """Run the body of a command, and end the process with one line on the standard error, and with status

    - 2 for an `InputError`;
    - 74 where a file cannot be read or written, as on a full disk or where a folder has vanished;
    - 75 where there is not enough memory;
    - 130 when interrupted, and 143 at SIGTERM;
    - 69 where another of several processes is lost, by `cnnjax.processes`;
    - 141, without a line, where nobody reads the output any more, as behind `| head`.

    Warnings are one line each. Anything else is a bug, and shows its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that is not text, a terminal that has no ±
    with _terminating(), warnings.catch_warnings():
        warnings.showwarning = _one_line
        try:
            try:
                yield
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
        except InputError as error:
            _end(2, f"error: {error}")
        except BrokenPipeError:
            _end(141)
        except KeyboardInterrupt:
            _end(130, f"stopped; {GOES_ON}.")
        except _Terminated:
            _end(143, f"stopped; {GOES_ON}.")
        except OSError as error:
            if error.errno is None:
                raise
            where = error.filename or "a file or the output"
            _end(74, f"error: {os.fsdecode(where)}: {error.strerror}; once that is mended, {GOES_ON}.")
        except MemoryError as error:
            _end(75, f"error: not enough memory ({str(error) or 'of this process'}): ask for less at once.")
        except RuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            _end(75, f"error: not enough memory ({str(error).splitlines()[0]}): ask for less at once.")


def _end(status: int, line: str = "") -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(number, signal.SIG_IGN)  # what is left takes no time
    with contextlib.suppress(OSError):
        if line:
            print(line, file=sys.stderr, flush=True)
    # What is left in the buffers, Python would write at its end, and fail again.
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    sys.exit(status)


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """SIGTERM raises, as SIGINT does, so that what is open is closed."""

    def terminate(number: int, frame: Any) -> NoReturn:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signal.SIGINT: signal.getsignal(signal.SIGINT), signal.SIGTERM: signal.signal(signal.SIGTERM, terminate)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def deferred() -> Iterator[threading.Event]:
    """Let the body end before SIGTERM or an interrupt does what it would do, and give the event that one sets.

    A second signal is not waited with. One that the process ignores stays ignored. Threads besides the main one hear of
    no signal, and there the event is never set.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heard = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    came: list[int] = []

    def restore() -> None:
        for number, handler in heard.items():
            signal.signal(number, handler)

    def note(number: int, frame: Any) -> None:
        came.append(number)
        asked.set()
        if len(came) > 1:
            restore()
            signal.raise_signal(number)

    for number in heard:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        restore()
        if len(came) == 1:
            signal.raise_signal(came[0])


def _one_line(message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None) -> None:
    print(f"warning: {message}", file=file or sys.stderr)
