"""Kills of tiny experiments at random instants, again and again until each ends: what is lost, and what changes."""

import contextlib
import dataclasses
import importlib.util
import logging
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from cnnjax.errors import InputError

NETWORK = ("--network.name", "all_conv", "--network.widths", "4", "--network.depth", "1")
IMAGES = ("--data.train-images", "400", "--data.test-images", "20", "--data.size", "8", "--data.canvas", "12")
TRAIN = ("--train.epochs", "4", "--train.batch-size", "4")
PROTOCOL = ("--protocol.max-shift", "1", "--protocol.rotation-step", "90", "--protocol.images", "10")
EXPERIMENTS = {
    "augmentation": (*IMAGES, *NETWORK, *TRAIN, *PROTOCOL, "--augmentations", "none", "crop", "--seeds", "2"),
    "stride": (
        *(*IMAGES, *NETWORK, *TRAIN, *PROTOCOL, "--paddings", "circular", "--downsamples", "stride", "max"),
        *("--augmentations", "crop", "--farthest", "1", "--terms-images", "10", "--seeds", "2"),
    ),
    "gradients": (
        *(*IMAGES, *TRAIN, "--depths", "8", "--widths", "2", "2", "2", "--kinds", "plain", "--norms", "none"),
        *("--images", "10", "--seeds", "2", "--train-depths", "8", "--train-seeds", "2", "--activations", "relu"),
        *("--initializations", "he", "--activation-depth", "8"),
    ),
}
"""By name, the options that make them tiny: trainings of a hundred steps between two checkpoints."""
ON_CLUSTER = ("augmentation", "stride")
"""Those whose cells a Ray cluster computes, too."""

How = Literal["SIGKILL", "SIGTERM", "process", "worker"]
ENDS = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143}
"""The exit status of a command that was killed so."""
LOST = 69
"""The exit status of a process of which the other was killed."""
TOGETHER = 300.0
"""Seconds in which two processes find each other, or end, at most."""
SHORTEST, LONGEST = 8.0, 60.0
"""Seconds after which a command is killed at the latest: at first, and at last."""


@dataclasses.dataclass
class Killed:
    """What kills of one kind did to an experiment."""

    experiment: str
    how: How
    kills: int = 0
    repeated: int = 0
    """Steps that a network has trained twice for one kill, at most."""
    finished: int = 0
    """Runs that ended all the same."""
    identical: int = 0
    """Of these, those whose files, every table among them, are those of an undisturbed run, to the byte."""
    other: str = ""
    """The first thing that went otherwise."""


def kill_all(
    folder: Path, chance: random.Random, kills: int, names: Iterable[str], ways: Iterable[How]
) -> Iterator[Killed]:
    """Kill each of these experiments at least `kills` times in all, as often in each way; Ray's if it is installed."""
    ray = importlib.util.find_spec("ray") is not None
    for name in names:
        own: list[How] = [how for how in ways if how != "worker" or (ray and name in ON_CLUSTER)]
        for how in own:
            # Two processes sum in another order than one does: theirs is an undisturbed run of their own.
            whole = folder / name / ("two" if how == "process" else "one")
            if not whole.exists():
                undisturbed(name, how, whole, folder / "notes")
            result = Killed(name, how)
            while result.kills < kills / len(own) and not result.other:
                chain(result, folder / name / f"{how}{result.finished}", whole, chance)
            yield result


def undisturbed(name: str, how: How, whole: Path, notes: Path) -> None:
    """Run an experiment as it will be killed, but to its end."""
    commands = start_two(name, whole, notes) if how == "process" else [start(name, whole, notes)]
    if [status for command in commands if (status := command.wait())]:
        raise InputError(f"{name} ends by itself: see `python -m experiments.{name}`")


def start_two(name: str, out: Path, notes: Path) -> list[subprocess.Popen]:
    """The command of an experiment as two processes that train together."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    options = ("--distributed.processes", "2", "--distributed.coordinator", place, "--distributed.process")
    return [start(name, out, notes, *options, str(index)) for index in range(2)]


def start(name: str, out: Path, notes: Path, *options: str) -> subprocess.Popen:
    """The command of an experiment, which notes its steps."""
    command = [sys.executable, "-m", "experiments.benchmarks.counted", str(notes), f"experiments.{name}"]
    command += [*EXPERIMENTS[name], "--out", str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def chain(result: Killed, out: Path, whole: Path, chance: random.Random) -> None:
    """Start the same command until it ends by itself, each killed later than the one before; count into `result`."""
    notes, longest, before = out.with_suffix(".notes"), SHORTEST, -1
    while True:
        if result.how == "worker":
            with cluster(), start(result.experiment, out, notes, "--engine", "ray") as process:
                kill_workers(process, result, chance, longest)
            # Status 2: one cell has lost more workers than a command replaces, or too much else for a cluster was lost.
            goes_on = process.returncode == 2 and result.kills > before
        elif result.how == "process":
            process, *others = start_two(result.experiment, out, notes)
            goes_on = kill_one([process, *others], notes, result, chance, longest)
        else:
            with start(result.experiment, out, notes) as process:
                goes_on = kill_once(process, result, chance, longest)
        if not goes_on:
            break
        longest, before = min(LONGEST, longest * 1.2), result.kills
    if process.returncode:
        result.other = result.other or f"status {process.returncode}"
        return
    result.finished += 1
    result.identical += same(out, whole)
    result.other = result.other or ("" if same(out, whole) else "other files than those of an undisturbed run")
    result.repeated = max(result.repeated, repeated(notes))


def kill_once(process: subprocess.Popen, result: Killed, chance: random.Random, longest: float) -> bool:
    """Kill a command at a random instant; whether it was killed, rather than ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(chance.uniform(0, longest))
        return False
    process.send_signal(signal.SIGKILL if result.how == "SIGKILL" else signal.SIGTERM)
    status = process.wait()
    # Before Python listens, SIGTERM ends a process as SIGKILL does.
    if status not in (ENDS[result.how], -signal.SIGTERM):
        return False
    result.kills += 1
    return True


def kill_one(
    processes: list[subprocess.Popen], notes: Path, result: Killed, chance: random.Random, longest: float
) -> bool:
    """Kill one of the processes at a random instant after they have met; whether one was killed, rather than ended.

    The other must end by itself: with the status of one that has lost another, or as it would have, if it was finished.
    """
    joined = notes.with_suffix(".joined")
    until = time.monotonic() + TOGETHER
    while not joined.exists() or len(joined.read_text().splitlines()) < len(processes):
        if any(process.poll() is not None for process in processes) or time.monotonic() > until:
            break
        time.sleep(0.05)
    joined.unlink(missing_ok=True)
    lost = chance.choice(processes)
    try:
        try:
            lost.wait(chance.uniform(0, longest))
        except subprocess.TimeoutExpired:
            lost.kill()
        found = {process: process.wait(TOGETHER) for process in processes}
    except subprocess.TimeoutExpired:
        result.other = "a process has not noticed that the other is gone"
        return False
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if found.pop(lost) != -signal.SIGKILL:
        return False
    result.kills += 1
    if unlike := [status for status in found.values() if status not in (LOST, 0)]:
        result.other = f"status {unlike[0]} of the other process"
    return not result.other


def kill_workers(process: subprocess.Popen, result: Killed, chance: random.Random, longest: float) -> None:
    """Kill the worker of a cell at random instants, until the command has ended."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, longest))
            return
        workers = [worker for worker in computing() if process.poll() is None]
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                result.kills += 1


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """A Ray cluster of two workers in this machine, which the commands find."""
    import ray  # pyright: ignore[reportMissingImports]

    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        # The mark tells the workers of this cluster from others in the machine.
        os.environ |= {"RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0", MARK: str(os.getpid())}
        try:
            options = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False, "_temp_dir": folder}
            with warnings.catch_warnings(action="ignore"):  # that it forks, for which nothing waits here
                ray.init(**options, object_store_memory=100_000_000, logging_level=logging.ERROR)
            os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
            yield
        finally:
            ray.shutdown()
            os.environ.clear()
            os.environ.update(before)


MARK, TOKEN = "CNNJAX_FAULTS", secrets.token_hex(32)  # Ray reads a process's token once


def computing() -> list[int]:
    """The processes that compute a cell on the cluster of this process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            title, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            cell = title.startswith(b"ray::") and b"=" in title  # as cells are called, and Ray's own processes are not
            if cell and f"{MARK}={os.getpid()}".encode() in environment.split(b"\0"):
                found.append(int(folder.name))
    return found


def repeated(notes: Path) -> int:
    """The steps that a network has trained again after it was killed, at most."""
    begun: Counter[str] = Counter()
    most = 0
    for line in notes.read_text().splitlines() if notes.exists() else ():
        network, step, count = line.split()
        most = max(most, begun[network] - int(step))
        begun[network] = int(step) + int(count)
    return most


def same(found: Path, whole: Path) -> bool:
    """Whether two runs have kept the same in their cells and tables, to the byte."""
    kept = [
        {path.relative_to(run): path.read_bytes() for path in [*run.glob("cells/*/*"), *run.glob("*.csv")]}
        for run in (found, whole)
    ]
    return kept[0] == kept[1] and bool(kept[0])
