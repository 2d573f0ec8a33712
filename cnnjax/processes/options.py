"""How a process is told of the others: by its options, or by the environment of what has started them."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal

from cnnjax.errors import InputError

PATIENCE = 300
"""Seconds in which all processes must have come."""


@dataclasses.dataclass(frozen=True)
class Distributed:
    """Processes that train together, each started with the same command; see docs/scale_processes.md."""

    processes: int | Literal["auto"] | None = None
    """How many there are; auto: as many as SLURM, Open MPI 4 or a Kubernetes job has started. None: this one only."""
    process: int | None = None
    """The number of this one, from 0. Process 0 alone writes."""
    coordinator: str | None = None
    """HOST:PORT at which the others reach process 0, with any port that is free there."""


@dataclasses.dataclass(frozen=True)
class Place:
    """A process among several."""

    coordinator: str
    count: int
    index: int
    devices: Sequence[int] | None = None
    """The numbers of this machine's devices that are its own; None: all."""


def read_place(options: Distributed) -> Place | None:
    """Where the options put this process; None: it is alone.

    Raises `InputError` for options that are wrong or incomplete, and for "auto" where nothing known has started this
    process.
    """
    given = {"process": options.process, "coordinator": options.coordinator}
    if options.processes is None or options.processes == "auto":
        if superfluous := [name for name, value in given.items() if value is not None]:
            name = superfluous[0]
            remedy = "leave it out" if options.processes else "give --distributed.processes too, how many there are"
            raise InputError(f"distributed.{name}={given[name]} goes with a number of processes only: {remedy}")
        return None if options.processes is None else _detected()
    if options.processes < 1:
        raise InputError(f"distributed.processes={options.processes} must be at least 1")
    if missing := [name for name, value in given.items() if value is None]:
        raise InputError(f"distributed.processes={options.processes} needs --distributed.{missing[0]} too")
    assert options.process is not None
    assert options.coordinator is not None
    if not 0 <= options.process < options.processes:
        raise InputError(
            f"distributed.process={options.process} must be from 0 to {options.processes - 1}: "
            f"distributed.processes={options.processes}"
        )
    host, _, port = options.coordinator.rpartition(":")
    if not re.fullmatch(r"[\w.-]+|\[[0-9a-fA-F:.%\w]+\]", host) or not (port.isdecimal() and 0 < int(port) < 2**16):
        raise InputError(f"distributed.coordinator={options.coordinator} must be HOST:PORT, such as 10.0.0.1:1234")
    place = Place(options.coordinator, options.processes, options.process)
    return place if place.count > 1 else None


def _detected() -> Place | None:
    """What JAX finds in the environment of SLURM, Open MPI, Kubernetes and TPU pods."""
    from jax._src.clusters import ClusterEnv  # what jax.distributed.initialize asks

    try:
        found = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:  # values that are no numbers, a pod without a job
        raise InputError(f"distributed.processes=auto cannot be made out ({error}): give it as a number") from error
    coordinator, count, index, devices = found
    if coordinator is None or count is None or index is None:
        raise InputError(
            "distributed.processes=auto, but neither SLURM, Open MPI 4 nor a Kubernetes job has started this process: "
            "give --distributed.processes, --distributed.process and --distributed.coordinator"
        )
    return Place(coordinator, count, index, devices) if count > 1 else None
