"""When a process is lost, or ends, the others end too, in one line, and the same command goes on with any number."""

import signal
import time

import pytest

from cnnjax import runtime
from cnnjax.runs import read_metrics
from tests.processes import tiny
from tests.processes.launch import Processes, wait_until
from tests.processes.test_together import assert_same_run

LONG = ("--train.epochs", "16")


def begun(path, steps):
    """Whether the run has come so far."""
    file = path / "metrics.jsonl"
    return file.exists() and file.read_text().count("\n") >= steps


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize(("count", "then"), [(2, 4), (4, 1)])
def test_a_killed_process_ends_the_others_and_the_command_goes_on(tmp_path, lost, count, then):
    out = tmp_path / "run"
    with Processes(count, "--out", out, *LONG) as processes:
        wait_until(lambda: begun(out, 12))
        processes.each[lost].send_signal(signal.SIGKILL)
        began = time.monotonic()
        found = processes.ended()
        assert time.monotonic() - began < 60
    for index, (status, _, errors) in enumerate(found):
        if index == lost:
            assert status == -signal.SIGKILL
        else:
            assert status == 69, errors
            (line,) = [line for line in errors.splitlines() if line.startswith("error")]
            assert line.startswith(f"error: process {lost}")
            assert "is gone" in line
            assert "the same command goes on" in line
            assert "Traceback" not in errors
            assert "Check failure" not in errors
    assert not list(out.rglob("*.tmp"))
    before = len(read_metrics(out))
    with Processes(then, "--out", out, *LONG) as processes:
        assert [status for status, _, _ in processes.ended()] == [0] * then
    assert before < len(read_metrics(out))
    runtime.configure()
    whole = tiny.Config(tmp_path / "whole", train=tiny.TrainConfig(epochs=16, batch_size=20, learning_rate=0.05))
    assert_same_run(out, tiny.run(whole))
