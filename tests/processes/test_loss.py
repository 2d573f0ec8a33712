"""When a process is lost, or ends, the others end too, in one line, and the same command goes on with any number."""

import signal
import time

import pytest

from cnnjax import runtime
from tests.processes import tiny
from tests.processes.launch import Processes, wait_until
from tests.processes.test_together import assert_same_run

LONG = ("--train.epochs", "16")


def logged(path):
    """How many records the run has of its training."""
    file = path / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def wait_for_more(out, records=8):
    """Wait until the run has so many records more."""
    before = logged(out)
    wait_until(lambda: logged(out) >= before + records)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_process_ends_the_others_and_the_command_goes_on_with_any_number(tmp_path):
    out = tmp_path / "run"
    for count, lost in [(2, 1), (4, 0), (1, 0)]:
        with Processes(count, "--out", out, *LONG) as processes:
            wait_for_more(out)
            processes.each[lost].send_signal(signal.SIGKILL)
            began = time.monotonic()
            found = processes.ended()
            assert time.monotonic() - began < 60
        for index, (status, output, errors) in enumerate(found):
            if index == lost:
                assert status == -signal.SIGKILL
                continue
            assert status == 69, errors
            assert output.count("\n") <= (index == 0)  # Gloo's own
            *notes, line = errors.splitlines()
            assert line.startswith(f"error: process {lost}")
            assert "is gone" in line
            assert line.endswith("the same command goes on where this one was, also with another number of processes.")
            assert notes == [] or index == 0
            assert "Traceback" not in errors
    with Processes(2, "--out", out, *LONG) as processes:
        assert [status for status, _, _ in processes.ended()] == [0, 0]
    assert not list(out.rglob("*.tmp"))  # a process may be lost while it writes a file, which the next one removes
    runtime.configure()
    assert_same_run(out, tiny.run(tiny.Config(tmp_path / "whole", tiny.of_epochs(16))))


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
def test_a_signal_to_one_ends_all_with_its_status(tmp_path, who):
    with Processes(2, "--out", tmp_path / "run", *LONG) as processes:
        wait_for_more(tmp_path / "run", 4)
        processes.each[who].send_signal(signal.SIGTERM)
        found = processes.ended(60)
    assert [status for status, _, _ in found] == [143, 143]
    assert found[who][2].splitlines()[-1].startswith("stopped; the same command goes on")
    assert f"process {who} of 2 has ended with status 143" in found[1 - who][2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--seeds", "3"], "The run of process 0 has other settings: seeds was 2, is 3."),
        (["--fewer", "20"], "the images of noise are not those that the run of process 0 began with"),
    ],
)
def test_processes_of_other_options_or_data_end_before_any_training(tmp_path, options, says):
    with Processes(2, "--out", tmp_path / "run", of_last=options) as processes:
        (status, _, errors), (other, _, line) = processes.ended()
    assert (status, other) == (2, 2)
    assert line.startswith(f"error: {says}")
    assert "process 1 of 2 has ended with status 2" in errors
    assert not list((tmp_path / "run").glob("cells/*/*"))
