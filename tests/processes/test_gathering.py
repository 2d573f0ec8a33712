"""Processes meet before any work, or each says in one line why they did not."""

import socket
import threading

import pytest

from cnnjax import InputError
from cnnjax.processes.gathering import gather
from cnnjax.processes.options import Place
from cnnjax.processes.relay import Relay


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def gathered(*places, patience=20.0):
    """What each of the places meets with: None, or the error."""
    found = {}

    def one(number, place):
        try:
            found[number] = gather(place, patience)
        except InputError as error:
            found[number] = str(error)

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(places)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[number] for number in range(len(places))]


def test_all_meet_in_any_order_and_leave_the_port_free():
    place = f"127.0.0.1:{free_port()}"
    for _ in range(2):
        assert gathered(Place(place, 3, 2), Place(place, 3, 0), Place(place, 3, 1)) == [None] * 3


def test_a_number_given_twice_is_said_by_all():
    place = f"127.0.0.1:{free_port()}"
    found = gathered(Place(place, 3, 0), Place(place, 3, 1), Place(place, 3, 1))
    assert all("process 1 of 3" in text and "for a second time" in text for text in found)


def test_another_count_is_said_by_both():
    place = f"127.0.0.1:{free_port()}"
    found = gathered(Place(place, 2, 0), Place(place, 3, 1))
    assert all("process 1 of 3 came to" in text and "where process 0 of 2 is" in text for text in found)


def test_who_does_not_come_is_named():
    place = f"127.0.0.1:{free_port()}"
    first, other = gathered(Place(place, 4, 0), Place(place, 4, 2), patience=2.0)
    assert first.startswith(f"process 1, 3 of 4 did not come to {place}")
    assert other.startswith(f"process 2 of 4 did not meet all others at {place}")


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen at port {port}"):
            gather(Place(f"127.0.0.1:{port}", 2, 0), 5.0)


def test_a_stranger_at_the_port_is_ignored():
    port = free_port()
    place = f"127.0.0.1:{port}"

    def stranger():
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)) as there:
                    there.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    return
            except ConnectionRefusedError:
                continue

    thread = threading.Thread(target=stranger)
    thread.start()
    host = threading.Thread(target=gather, args=(Place(place, 2, 0), 20.0))
    host.start()
    thread.join()
    assert gathered(Place(place, 2, 1)) == [None]
    host.join()


def test_a_relay_passes_on_and_tells_a_coordinator_that_ends_from_one_that_is_left():
    lost = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as coordinator:
        host, port = Relay(coordinator.getsockname(), lost.set).address.split(":")
        for leaves in ("here", "there"):
            with socket.create_connection((host, int(port))) as here:
                there, _ = coordinator.accept()
                here.sendall(b"question")
                assert there.recv(100) == b"question"
                there.sendall(b"answer")
                assert here.recv(100) == b"answer"
                if leaves == "there":
                    there.close()
                    assert lost.wait(10)
            if leaves == "here":
                assert there.recv(100) == b""
                there.close()
                assert not lost.wait(0.5)
