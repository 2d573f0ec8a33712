"""The command line of an experiment: help, suggestions, one-line errors, statuses."""

import os
import runpy
import signal
import subprocess
import sys
import warnings
from typing import NamedTuple

import pytest

EXPERIMENT = '''
"""How invariant does a network become?

It trains nothing, and ends soon.
"""
import dataclasses
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Literal

from cnnjax import InputError
from cnnjax.runs import main


@dataclasses.dataclass(frozen=True)
class Data:
    """What is looked at."""

    name: Literal["digits", "mnist"] = "digits"
    """Name of the data set."""
    rate: float = 0.1
    """A number."""
    sides: tuple[int, ...] = ()
    """Whole numbers."""


@dataclasses.dataclass(frozen=True)
class Config:
    data: Data = Data()
    seeds: int = 5
    """Number of networks per cell."""
    out: Path | None = None
    """Directory of the run; follows from the settings unless named."""


def run(config: Config) -> Path:
    if config.seeds < 1:
        raise InputError(f"seeds is {config.seeds}; give at least one.")
    if config.seeds == 99:
        # A shell that starts a job in the background has it ignore interrupts, and so all that the job starts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("working", flush=True)
        time.sleep(60)
    if config.seeds == 7:
        raise ValueError("a bug")
    if config.seeds == 8:
        (Path("gone") / "file").write_text("")
    if config.seeds == 9:
        print("x" * 100_000)
    if config.seeds == 6:
        raise MemoryError("cannot allocate 1 PiB")
    warnings.warn("the last line is torn", stacklevel=1)
    print("a table", config.seeds)
    return config.out or Path.cwd() / "runs" / config.data.name


if __name__ == "__main__":
    presets = {"paper": Config(data=Data(name="mnist"), seeds=10)}
    main(Config, run, prog="python -m experiments.invariance", presets=presets)
'''


class Done(NamedTuple):
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "invariance.py"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture
def process(script):
    """Runs the script in a process of its own."""

    def call(*arguments):
        environment = {**os.environ, "COLUMNS": "100", "PYTHONWARNINGS": ""}
        everything = [sys.executable, str(script), *arguments]
        return subprocess.run(
            everything, cwd=script.parent, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return call


@pytest.fixture
def command(script, monkeypatch, capsys):
    """Runs the script in this process, which has imported what others take seconds to."""
    monkeypatch.chdir(script.parent)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", [str(script), *map(os.fsdecode, arguments)])
        capsys.readouterr()
        status = 0
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            try:
                runpy.run_path(str(script), run_name="__main__")
            except SystemExit as ended:
                status = ended.code
        return Done(status, *capsys.readouterr())

    return call


def test_the_path_is_the_last_line_and_warnings_are_one_line(process):
    done = process("--data.name", "mnist")
    assert done.returncode == 0
    assert done.stdout == "a table 5\nruns/mnist\n"
    assert done.stderr == "warning: the last line is torn\n"


def test_a_path_elsewhere_is_whole(command):
    assert command("--out", "/elsewhere/run").stdout.splitlines()[-1] == "/elsewhere/run"


def test_help_shows_the_question_the_options_and_their_defaults(command):
    done = command("--help")
    assert done.returncode == 0
    for text in (
        "usage: python -m experiments.invariance",
        "How invariant does a network become?",
        "It trains nothing, and ends soon.",
        "Number of networks per cell. (default: 5)",
        "--data.name {digits,mnist}",
        "What is looked at.",
        "follows from the settings unless named. (default: None)",
    ):
        assert text in done.stdout


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([], "a table 5\nruns/digits\n"),
        (["--preset", "default"], "a table 5\nruns/digits\n"),
        (["--preset", "paper"], "a table 10\nruns/mnist\n"),
        (["--preset=paper", "--seeds", "3"], "a table 3\nruns/mnist\n"),
        (["--data.name", "digits", "--preset", "paper"], "a table 10\nruns/digits\n"),
    ],
)
def test_a_preset_is_what_other_options_change(command, arguments, printed):
    assert command(*arguments).stdout == printed


def test_help_shows_the_defaults_of_the_preset(command):
    plain, paper = command("--help").stdout, command("--preset", "paper", "--help").stdout
    assert "--preset {default,paper}" in plain
    assert "--preset paper --help shows" in plain
    assert "(default: 5)" in plain
    assert "(default: 10)" in paper


def test_an_experiment_without_presets_has_no_such_option(command, script):
    script.write_text(EXPERIMENT.replace(", presets=presets", ""))
    done = command("--preset", "paper")
    assert done.returncode == 2
    assert "Unrecognized options: --preset" in done.stderr
    assert "--preset" not in command("--help").stdout


@pytest.mark.parametrize("where", ["command", "process"])
def test_an_input_error_is_one_line_and_status_2(where, request):
    done = request.getfixturevalue(where)("--seeds", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: seeds is 0; give at least one.\n"


@pytest.mark.parametrize(
    ("arguments", "hints"),
    [
        (["--sedes", "3"], ["--sedes", "Perhaps you meant", "--seeds INT"]),
        (["--data.name", "mnits"], ["mnits", "'digits', 'mnist'"]),
        (["--seeds", "many"], ["--seeds", "many"]),
        (["--preset", "papre"], ["papre", "'default', 'paper'"]),
        (["--preset"], ["--preset", "Missing"]),
        (["--perset", "paper"], ["--perset", "Perhaps you meant", "--preset"]),
    ],
)
def test_mistakes_get_a_suggestion_and_status_2(command, arguments, hints):
    done = command(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for hint in hints:
        assert hint in done.stderr


def test_a_bug_shows_its_traceback(process):
    done = process("--seeds", "7")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("ValueError: a bug\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_says_how_to_go_on_with_a_status_of_its_own(script, number, status):
    arguments = [sys.executable, str(script), "--seeds", "99"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "working\n"
        child.send_signal(number)
        _, error = child.communicate(timeout=30)
    assert child.returncode == status
    assert error == "stopped; the same command goes on where this one was.\n"


def test_a_file_that_cannot_be_written_is_one_line_and_status_74(command):
    done = command("--seeds", "8")
    assert done.returncode == 74
    assert done.stderr == (
        "error: gone/file: No such file or directory; once that is mended, the same command goes on where this one "
        "was.\n"
    )


def test_too_little_memory_is_one_line_and_status_75(command):
    done = command("--seeds", "6")
    assert done.returncode == 75
    assert done.stderr == "error: not enough memory (cannot allocate 1 PiB): ask for less at once.\n"


@pytest.mark.parametrize("arguments", ["--help", "--seeds 9"])
def test_where_nobody_reads_on_it_ends_without_a_word(script, arguments):
    line = f"{sys.executable} {script} {arguments} | true; echo ${{PIPESTATUS[0]}} >&2"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.replace("warning: the last line is torn\n", "") == "141\n"


def test_output_that_cannot_be_written_is_one_line(script):
    line = f"{sys.executable} {script} --help > /dev/full; echo $? >&2"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.startswith("error: a file or the output: No space left on device;")
    assert done.stderr.endswith("\n74\n")
    assert done.stderr.count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--out", b"r\xffun"], ["\\udcff", "not UTF-8"]),
        (["--data.name", b"\xff"], ["\\udcff", "not UTF-8"]),
        (["--seeds", "9223372036854775808"], ["--seeds 9223372036854775808", "at most 2147483647"]),
        (["--seeds", "-9223372036854775809"], ["--seeds -9223372036854775809", "at most"]),
        (["--data.rate", "1e-320"], ["--data.rate 1e-320", "give 0, or"]),
        (["--data.rate", "nan"], ["--data.rate nan"]),
        (["--data.rate", "-inf"], ["--data.rate -inf"]),
        (["--data.rate", "1e200"], ["--data.rate 1e+200", "at most 1e+30"]),
        (["--data.sides", "3", "99999999999"], ["--data.sides 99999999999"]),
    ],
)
def test_what_no_run_can_note_or_count_with_is_one_line(command, arguments, parts):
    done = command(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for part in parts:
        assert part in done.stderr
