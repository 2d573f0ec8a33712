"""Processes on this machine that train together, each a Python of its own with so many devices."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Processes:
    """`count` processes of an experiment, with these arguments, that find each other; use it in a `with`.

    The last one is also given the arguments `of_last`.
    """

    def __init__(
        self,
        count: int,
        *arguments: object,
        of_last: Sequence[str] = (),
        devices: int = 1,
        module: str = "tests.processes.tiny",
    ):
        with socket.create_server(("127.0.0.1", 0)) as free:
            place = f"127.0.0.1:{free.getsockname()[1]}"
        flags = os.environ.get("XLA_FLAGS", "").split()
        kept = [flag for flag in flags if "device_count" not in flag]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": " ".join([*kept, f"--xla_force_host_platform_device_count={devices}"]),
            "JAX_PLATFORMS": "cpu",
        }
        common = [sys.executable, "-m", module, *map(str, arguments)]
        if count > 1:
            common += ["--distributed.processes", str(count), "--distributed.coordinator", place]
        own = [["--distributed.process", str(index)] if count > 1 else [] for index in range(count)]
        own[-1] += of_last
        self.each = [
            subprocess.Popen(
                common + own[index],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(count)
        ]

    def ended(self, seconds: float = 200) -> list[tuple[int, str, str]]:
        """Status, output and errors of each process, when all have ended; those that have not are an error."""
        until = time.monotonic() + seconds
        found = [one.communicate(timeout=max(until - time.monotonic(), 1)) for one in self.each]
        return [(one.returncode, *texts) for one, texts in zip(self.each, found, strict=True)]

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *error: object) -> None:
        for one in self.each:
            one.kill()
            one.communicate()


def wait_until(true, seconds: float = 150) -> None:
    """Wait until `true()`, and fail where that takes longer."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)
