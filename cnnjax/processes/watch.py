"""What notices that another process has ended, and ends this one, whatever it is waiting for.

Every process says each second that it is there, and process 0 listens. A collective that waits for a process that is no
more cannot be interrupted from Python, so a thread ends the process.
"""

import contextlib
import json
import os
import sys
import threading
import time
from typing import Any, NoReturn

from cnnjax.ending import GOES_ON
from cnnjax.processes.group import remove_scratch

PERIOD = 1.0
SILENCE = 20.0
"""Seconds after which a process that says nothing is given up."""
LOST = 69
"""The exit status of a process of which another was lost: EX_UNAVAILABLE of sysexits.h."""

_ENDED = "cnnjax/ended"


class Watch:
    """The threads that watch over the processes, from `start` until `stop`; this one is number `index` of `count`."""

    def __init__(self, index: int, count: int) -> None:
        self._index, self._count = index, count
        self._stopped = threading.Event()
        self._ending = threading.Lock()
        self._answered = time.monotonic()

    def start(self, store: Any) -> None:
        """Begin to say that this process is there, and to listen, by the `store` of JAX's coordinator."""
        self._store = store
        self._answered = time.monotonic()
        for target in (self._beat, self._guard):
            threading.Thread(target=target, daemon=True, name="watch").start()

    def stop(self) -> None:
        """No end of another process matters any more."""
        self._stopped.set()

    def tell(self, status: int) -> None:
        """Let the others know that this process ends with a status of its own, unless one of them did before."""
        self.stop()
        with contextlib.suppress(Exception):  # it ends anyway: whoever cannot be told will find out
            self._post(self._index, status, f"has ended with status {status}, as its own output says")
            self._let_others_read()

    def coordinator_lost(self) -> None:
        """End this process, as process 0 is gone."""
        self._end(LOST, "process 0, which all others need, is gone (killed, or its machine is)")

    def _beat(self) -> None:
        import jax

        beat, heard = 0, {}
        while not self._stopped.wait(PERIOD):
            beat += 1
            try:
                self._store.key_value_set(f"cnnjax/alive/{self._index}", str(beat), allow_overwrite=True)
                if found := dict(self._store.key_value_dir_get(_ENDED)):
                    who, status, text = json.loads(next(iter(found.values())))
                    self._end(status, f"process {who} of {self._count} {text}")
                if self._index == 0:
                    heard = self._listen(heard)
            except jax.errors.JaxRuntimeError:
                continue  # `_guard` counts
            self._answered = time.monotonic()

    def _listen(self, heard: dict[int, tuple[str, float]]) -> dict[int, tuple[str, float]]:
        """Each process's last word, and when it came."""
        now = time.monotonic()
        paused = now - self._answered > 5 * PERIOD  # this process was: it has not heard what was said meanwhile
        words = {int(key.rpartition("/")[2]): word for key, word in self._store.key_value_dir_get("cnnjax/alive")}
        for who in range(self._count):
            before = heard.get(who)
            if before is None or paused or before[0] != words.get(who, ""):
                heard[who] = words.get(who, ""), now
            elif now - before[1] > SILENCE:
                text = "is gone (killed, or its machine is)"
                self._post(who, LOST, text)
                self._end(LOST, f"process {who} of {self._count} {text}")
        return heard

    def _guard(self) -> None:
        """End a process to which the coordinator has not answered for long, as when its machine has lost its power."""
        before = time.monotonic()
        while not self._stopped.wait(PERIOD):
            now = time.monotonic()
            if now - before > 5 * PERIOD:
                self._answered = now  # it was this process that stood still
            elif now - self._answered > SILENCE:
                self.coordinator_lost()
            before = now

    def _post(self, who: int, status: int, text: str) -> None:
        import jax

        with contextlib.suppress(jax.errors.JaxRuntimeError):  # another has been noted before
            self._store.key_value_set(f"{_ENDED}/first", json.dumps([who, status, text]))

    def _let_others_read(self) -> None:
        if self._index == 0:  # what they read ends with it
            time.sleep(3 * PERIOD)

    def _end(self, status: int, text: str) -> None:
        if self._stopped.is_set() or not self._ending.acquire(blocking=False):
            return
        with contextlib.suppress(OSError, ValueError):  # nobody may be reading any more
            print(f"error: {text}; {GOES_ON}, also with another number of processes.", file=sys.stderr, flush=True)
        self._let_others_read()
        leave(status)


def leave(status: int) -> NoReturn:
    """End this process at once, without waiting for any other, as JAX would."""
    remove_scratch()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
