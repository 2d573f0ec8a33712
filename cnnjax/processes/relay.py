"""The way of a process to the coordinator, on which it notices that the coordinator is gone.

JAX ends a process that loses its coordinator at once, with a page of text and SIGABRT. So it talks to a relay of its
own, which outlives the coordinator long enough to say in one line what happened.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

_COMES = 60.0  # seconds in which the coordinator begins to listen


class Relay:
    """Passes connections to a port of this machine on to the `coordinator`, and calls `lost` when that ends one."""

    def __init__(self, coordinator: tuple[str, int], lost: Callable[[], Any]):
        self._there = coordinator
        self._lost = lost
        self._met = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._server.getsockname())
        threading.Thread(target=self._accept, daemon=True, name="relay").start()

    def _accept(self) -> None:
        while True:
            here, _ = self._server.accept()
            threading.Thread(target=self._pass_on, args=(here,), daemon=True, name="relay").start()

    def _pass_on(self, here: socket.socket) -> None:
        with here, contextlib.ExitStack() as opened:
            try:
                there = opened.enter_context(self._connected())
            except OSError:
                self._lost()
                return
            left = threading.Event()
            back = threading.Thread(target=_copy, args=(here, there, left), daemon=True, name="relay")
            back.start()
            _copy(there, here)
            if not left.is_set():
                self._lost()  # before `here` is closed, on which JAX would end the process
            with contextlib.suppress(OSError):
                here.shutdown(socket.SHUT_RDWR)
            back.join()

    def _connected(self) -> socket.socket:
        until = time.monotonic() + _COMES
        while True:
            try:
                there = socket.create_connection(self._there, timeout=10)
            except OSError:
                if self._met or time.monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                self._met = True
                there.settimeout(None)
                return there


def _copy(source: socket.socket, target: socket.socket, ended: threading.Event | None = None) -> None:
    """What one end sends, to the other, until it ends; then the other is told, where it shall be."""
    with contextlib.suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
    if ended is not None:
        ended.set()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
