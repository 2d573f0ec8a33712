"""A sweep that is ended from outside ends in one line, keeps what it has, and goes on to the same files."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cnnjax.runs import read_config, read_metrics
from cnnjax.training import read_arrays
from tests.sweep import tiny_command

GOES_ON = "the same command goes on where this one was."
STATE = Path("cells", "only", "state.safetensors")


def command(out, *options):
    return [sys.executable, "-m", "tests.sweep.tiny_command", "--out", str(out), *options]


def files(run):
    return {path.relative_to(run): path.read_bytes() for path in (run / "cells").rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny_command.run(tiny_command.Config(tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture
def goes_on(whole):
    """Runs the command again, and finds the files of an undisturbed run."""

    def check(out):
        tiny_command.run(tiny_command.Config(out))
        assert files(out) == files(whole)

    return check


def test_sigterm_in_the_middle_of_a_chunk_keeps_the_steps_taken(tmp_path, whole, goes_on):
    out = tmp_path / "run"
    with subprocess.Popen(
        command(out, "--seconds", "0.05"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        while child.stdout.readline().strip() != "step 39":  # in the second chunk, of 30 to 60
            assert child.poll() is None
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=60)
    assert child.returncode == 143
    assert said.endswith(f"stopped; {GOES_ON}\n")
    arrays, about = read_arrays(out / STATE)
    assert about["begun"]["step"] == 30
    assert max(arrays["step"]) >= 40  # the step that the signal came in is kept, too
    assert min(arrays["step"]) >= 30
    goes_on(out)
    columns = ["seed", "step", "epoch", "loss", "accuracy"]
    assert read_metrics(out)[columns].equals(read_metrics(whole)[columns])


def unprivileged():
    """What a command begins with under which folders that may not be written to are so for root, too."""
    return ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []


def test_a_full_disk_is_one_line_and_what_was_written_stays_readable(tmp_path, goes_on):
    out = tmp_path / "run"
    # A disk on which the run finds room, and its checkpoint does not.
    small = ["bash", "-c", 'ulimit -f 3; exec "$@"', "bash"]
    done = subprocess.run([*small, *command(out)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 74
    assert done.stderr.splitlines()[-1].startswith(f"error: {out / STATE}: ")
    assert done.stderr.endswith(f"once that is mended, {GOES_ON}\n")
    assert "Traceback" not in done.stderr
    assert read_config(out)["experiment"] == "tiny"
    assert set(read_metrics(out)["step"]) == {30}
    assert files(out) == {}
    goes_on(out)


def test_a_folder_that_turns_read_only_is_one_line_and_what_was_written_stays_readable(tmp_path, goes_on):
    out = tmp_path / "run"
    with subprocess.Popen(
        [*unprivileged(), *command(out, "--seconds", "0.02")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        while child.stdout.readline().strip() != "step 33":  # the first checkpoint is written
            assert child.poll() is None
        (out / STATE).parent.chmod(0o555)
        _, said = child.communicate(timeout=60)
    assert child.returncode == 74
    assert said.splitlines()[-1] == f"error: {out / STATE}: Permission denied; once that is mended, {GOES_ON}"
    assert read_arrays(out / STATE)[0]["step"].tolist() == [30, 30]
    (out / STATE).parent.chmod(0o755)
    goes_on(out)
