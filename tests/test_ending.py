"""A signal that is deferred is not lost: it does what it would have done, once, after the body or at the second."""

import os
import signal
import threading

import pytest

from cnnjax import ending


@pytest.fixture
def interrupts():
    """Interrupts raise, whatever started these tests has made of them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_the_body_ends_first(interrupts):
    done = []

    def work():
        with ending.deferred() as stop:
            interrupts()
            assert stop.wait(10)
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_is_not_waited_with(interrupts):
    done = []

    def work():
        with ending.deferred() as stop:
            interrupts()
            assert stop.wait(10)
            interrupts()
            threading.Event().wait(10)
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_body_that_fails_is_ended_by_the_signal(interrupts):
    def work():
        with ending.deferred() as stop:
            interrupts()
            assert stop.wait(10)
            raise OSError("the disk is full")

    with pytest.raises(KeyboardInterrupt):
        work()


def test_other_threads_hear_of_nothing():
    heard = []

    def work():
        with ending.deferred() as stop:
            heard.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]
