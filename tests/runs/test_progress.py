"""Progress is a few plain lines, or bars where there is a terminal to draw them on."""

import os
import subprocess
import sys
import textwrap

import pytest

from cnnjax import InputError
from cnnjax.runs import Progress, progress
from cnnjax.runs.progress import humanize


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_plain_lines_tell_cells_compilation_and_time(capsys, clock):
    with Progress(3) as p:
        p.skip("augmentation=none")
        p.cell("augmentation=crop")
        p.status("compiling the training step")
        for epoch in range(20):
            clock.now += 1
            p.advance(epoch + 1, 20, "loss 0.5")
        p.note("seed 3 diverged")
        p.cell("augmentation=rotation")
        clock.now += 100
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "[1/3] augmentation=none: finished earlier",
        "[2/3] augmentation=crop",
        "  compiling the training step",
        "seed 3 diverged",
        "  done in 20 s, about 20 s left",
        "[3/3] augmentation=rotation",
        "  done in 1 min 40 s",
        "3 cells in 2 min 00 s",
    ]


def test_cells_that_are_finished_elsewhere_count(capsys, clock):
    with Progress(4) as p:
        p.skip("a")
        clock.now += 30
        p.finished("c")
        clock.now += 30
        p.finished("b")
        p.finished("d")
    assert capsys.readouterr().err.splitlines() == [
        "[1/4] a: finished earlier",
        "[2/4] c: done, about 1 min 00 s left",
        "[3/4] b: done, about 30 s left",
        "[4/4] d: done",
        "4 cells in 1 min 00 s",
    ]


def test_a_long_cell_shows_a_sign_of_life_once_a_minute(capsys, clock):
    with Progress(2) as p:
        p.cell("a")
        for epoch in range(100):
            clock.now += 6
            p.advance(epoch + 1, 100, "loss 0.5")
        lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 + 10
    assert lines[1] == "  10 of 100, loss 0.5, about 19 min 00 s left"
    assert lines[-1] == "  100 of 100, loss 0.5, about 10 min 00 s left"


def test_a_cell_that_fails_is_not_said_to_be_done(capsys):
    def interrupted():
        with Progress(1) as p:
            p.cell("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert capsys.readouterr().err == "[1/1] a\n"


SCRIPT = """
import sys, time
from cnnjax.runs import Progress
with Progress(2) as p:
    p.skip("none")
    p.cell("crop [0, 1]")
    p.status("compiling the training step")
    time.sleep(0.4)
    p.advance(1, 4, "loss 0.5")
    time.sleep(0.4)
    p.note("seed 3 diverged")
print("result")
"""


def on_a_terminal(term):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": term, "COLUMNS": "100"}
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=environment, check=True, timeout=60)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    return done.stdout.decode(), shown.decode()


def test_bars_on_a_terminal():
    out, shown = on_a_terminal("xterm-256color")
    assert out == "result\n"
    for text in ("none: finished earlier", "cell 2 of 2", "crop [0, 1]", "compiling the training step", "loss 0.5"):
        assert text in shown
    assert "━" in shown
    assert "25%" in shown
    assert "seed 3 diverged" in shown
    assert "2 cells in" in shown.splitlines()[-1]


def test_plain_lines_on_a_terminal_that_cannot_draw():
    _, shown = on_a_terminal("dumb")
    assert "\x1b" not in shown
    assert "  compiling the training step" in shown.splitlines()


def test_no_cells_are_refused():
    with pytest.raises(InputError, match="0 cells"):
        Progress(0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200.0, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (3900.0, "1 h 05 min"),
        (90000.0, "25 h 00 min"),
    ],
)
def test_durations_read_well(seconds, text):
    assert humanize(seconds) == text
