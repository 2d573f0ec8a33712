"""The first meeting, at the coordinator's port, before JAX listens there: it would end by SIGABRT if one stays out.

A process says in a line which it is, and of how many; process 0 answers "go" to all when they are complete, and before
that, to one that cannot be right, what is wrong.
"""

import contextlib
import os
import re
import socket
import sys
import time

from cnnjax.errors import InputError
from cnnjax.processes.options import Place

_PATIENT = 10.0  # seconds after which process 0 says for whom it waits


def gather(place: Place, patience: float) -> None:
    """Wait until all processes are there.

    Raises `InputError` where that takes longer than `patience` seconds, where the port of process 0 is in use, and for
    a process that is there twice or counts otherwise.
    """
    until = time.monotonic() + patience
    if place.index == 0:
        _host(place, until)
    else:
        _guest(place, until)


def address_of(place: Place) -> tuple[str, int]:
    """Host and port of the coordinator."""
    host, _, port = place.coordinator.rpartition(":")
    return host.strip("[]"), int(port)


def _host(place: Place, until: float) -> None:
    guests: dict[int, socket.socket] = {}
    said, began = False, time.monotonic()
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(_listening(place))
        while missing := [str(one) for one in range(1, place.count) if one not in guests]:
            absent = f"process {', '.join(missing)} of {place.count}"
            if time.monotonic() > until:
                raise InputError(
                    f"{absent} did not come to {place.coordinator}: start all, with one address of process 0 that the "
                    "others reach"
                )
            if not said and time.monotonic() - began > _PATIENT:
                said = True
                print(f"waiting at {place.coordinator} for {absent}", file=sys.stderr, flush=True)
            try:
                guest = opened.enter_context(server.accept()[0])
            except TimeoutError:
                continue
            named = re.fullmatch(r"cnnjax (\d+) (\d+)\n", _line(guest))
            if not named:
                continue  # a stranger
            index, count = map(int, named.groups())
            if index in guests and _gone(guests[index]):
                del guests[index]  # killed, and started again
            if count != place.count or index in guests or not 0 < index < count:
                fault = f"process {index} of {count} came to {place.coordinator}, where process 0 of {place.count} is"
                fault += ", for a second time" if index in guests else ""
                for one in [guest, *guests.values()]:
                    _say(one, fault)
                raise InputError(f"{fault}: give each process its own number, and all the same count")
            guests[index] = guest
        server.close()  # before any goes on: else a guest that is quicker than JAX would come here again
        for guest in guests.values():
            _say(guest, "go")
        for guest in guests.values():
            _line(guest)  # they close first, so that the port is free at once


def _guest(place: Place, until: float) -> None:
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(address_of(place), timeout=5) as host:
            _say(host, f"cnnjax {place.index} {place.count}")
            answer = ""
            while time.monotonic() < until and not answer:
                with contextlib.suppress(TimeoutError):
                    host.settimeout(0.5)
                    answer = host.recv(2**12).decode(errors="replace").strip() or "lost"
            if answer == "go":
                return
            if answer.startswith("process"):
                raise InputError(f"{answer}: give each process its own number, and all the same count")
        time.sleep(0.2)
    raise InputError(
        f"process {place.index} of {place.count} did not meet all others at {place.coordinator}: start all, with one "
        "address of process 0 that the others reach"
    )


def _listening(place: Place) -> socket.socket:
    _, port = address_of(place)
    both = socket.has_dualstack_ipv6()
    try:
        server = socket.create_server(
            ("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both, backlog=128
        )
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise InputError(
            f"process 0 cannot listen at port {port} ({reason}): name another in --distributed.coordinator"
        ) from error
    server.settimeout(0.5)
    return server


def _gone(guest: socket.socket) -> bool:
    guest.settimeout(0)
    try:
        return guest.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _say(to: socket.socket, line: str) -> None:
    to.settimeout(5)
    with contextlib.suppress(OSError):
        to.sendall(f"{line}\n".encode())


def _line(of: socket.socket) -> str:
    of.settimeout(5)
    try:
        return of.recv(64).decode(errors="replace")
    except OSError:
        return ""
