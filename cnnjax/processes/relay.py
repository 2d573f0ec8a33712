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


class Relay:
    """Passes connections to a port of this machine on to `coordinator`, and calls `lost` when that ends one.

    Waits up to `patience` seconds for the coordinator to be there at all.
    """

    def __init__(self, coordinator: str, lost: Callable[[], Any], patience: float):
        host, _, port = coordinator.rpartition(":")
        self._there = host.strip("[]"), int(port)
        self._lost = lost
        self._until = time.monotonic() + patience
        self._met = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._server.getsockname())
        threading.Thread(target=self._accept, daemon=True, name="relay").start()

    def _accept(self) -> None:
        while True:
            here, _ = self._server.accept()
            threading.Thread(target=self._pass_on, args=(here,), daemon=True, name="relay").start()

    def _pass_on(self, here: socket.socket) -> None:
        there = self._connected()
        if there is None:
            if self._met:
                self._lost()
            here.close()
            return
        self._met = True
        closed_here = threading.Event()

        def forth() -> None:
            _copy(here, there)
            closed_here.set()
            with contextlib.suppress(OSError):
                there.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=forth, daemon=True, name="relay").start()
        _copy(there, here)
        if not closed_here.is_set():
            self._lost()

    def _connected(self) -> socket.socket | None:
        while True:
            try:
                return socket.create_connection(self._there, timeout=10)
            except OSError:
                if self._met or time.monotonic() > self._until:
                    return None
                time.sleep(0.2)


def _copy(source: socket.socket, target: socket.socket) -> None:
    """What one end sends, to the other, until it ends."""
    source.settimeout(None)
    with contextlib.suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
