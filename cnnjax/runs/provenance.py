"""Where a result comes from: command, versions, commit, device."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import cnnjax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def provenance() -> dict[str, Any]:
    """The command of this process, the time in UTC, the commit, the versions and the device; starts JAX's backend."""
    executable, *arguments = sys.orig_argv
    return {
        "command": shlex.join([Path(executable).name, *arguments]),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {
            "python": platform.python_version(),
            "cnnjax": cnnjax.__version__,
            **{package: _version(package) for package in _PACKAGES},
        },
        "device": _device(),
    }


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What a number may depend on and differs between two provenances: versions, commit, device."""
    old, new = ({"commit": p["commit"], **p["versions"], **p["device"]} for p in (before, now))
    return [f"{key} was {old.get(key)}, is {new.get(key)}" for key in {**old, **new} if old.get(key) != new.get(key)]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> dict[str, str | int]:
    import jax

    devices = jax.devices()
    first = devices[0]
    return {"platform": first.platform, "kind": first.device_kind, "count": len(devices), "cpu": _cpu_model()}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _commit() -> str | None:
    """The commit of the checkout that cnnjax runs from, `-dirty` where tracked files differ from it; None elsewhere."""
    package = Path(cnnjax.__file__).parent
    # A copy installed inside the environment of someone's own repository is not that repository's commit.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # only look: never write the checkout's index
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
