"""A process ends when another has ended, is lost or cannot be reached, and says so in one line."""

import queue
import threading

import jax
import pytest

from cnnjax.processes import watch
from cnnjax.processes.watch import LOST, Watch


class Store(dict):
    """The store of JAX's coordinator, as far as it is used here."""

    answers = True

    def key_value_set(self, key, value, allow_overwrite=False):
        self._check()
        if key in self and not allow_overwrite:
            raise jax.errors.JaxRuntimeError("ALREADY_EXISTS")
        self[key] = value

    def key_value_dir_get(self, key):
        self._check()
        return [item for item in list(self.items()) if item[0].startswith(key)]

    def _check(self):
        if not self.answers:
            raise jax.errors.JaxRuntimeError("UNAVAILABLE")


@pytest.fixture
def left(monkeypatch):
    """The statuses with which processes have ended."""
    statuses, over = queue.Queue(), threading.Event()

    def leave(status):
        statuses.put(status)
        over.wait()

    monkeypatch.setattr(watch, "leave", leave)
    monkeypatch.setattr(watch, "PERIOD", 0.05)
    monkeypatch.setattr(watch, "SILENCE", 2.0)
    yield statuses
    over.set()


def watching(store, *indices, count):
    found = [Watch(index, count) for index in indices]
    for each in found:
        each.start(store)
    return found


def stopped(watches):
    for each in watches:
        each.stop()


def test_all_end_when_one_is_silent(left, capsys):
    store = Store()
    watches = watching(store, 0, 1, count=3)
    assert {left.get(timeout=10), left.get(timeout=10)} == {LOST}
    stopped(watches)
    first, second = capsys.readouterr().err.splitlines()
    assert first == second
    assert first.startswith("error: process 2 of 3 is gone (killed, or its machine is); the same command goes on")


def test_none_ends_while_all_speak(left):
    watches = watching(Store(), 0, 1, 2, count=3)
    with pytest.raises(queue.Empty):
        left.get(timeout=3.0)
    stopped(watches)


@pytest.mark.parametrize("who", [0, 1])
def test_the_others_end_with_the_status_of_one_that_ends(left, capsys, who):
    store = Store()
    watches = watching(store, 0, 1, count=2)
    watches[who].tell(143)
    assert left.get(timeout=10) == 143
    stopped(watches)
    assert f"process {who} of 2 has ended with status 143, as its own output says" in capsys.readouterr().err


def test_a_process_ends_whose_coordinator_does_not_answer(left, capsys):
    store = Store()
    watches = watching(store, 1, count=2)
    store.answers = False
    assert left.get(timeout=10) == LOST
    stopped(watches)
    assert "process 0, which all others need, is gone" in capsys.readouterr().err


def test_a_process_ends_though_nobody_reads_its_errors(left, monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError

        flush = write

    monkeypatch.setattr("sys.stderr", Closed())
    watches = watching(Store(), 0, count=2)
    assert left.get(timeout=10) == LOST
    stopped(watches)
