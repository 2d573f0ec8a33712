"""Programs timed in turn, so that whatever else the machine does falls on all of them alike."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import jax
import numpy as np
from jaxtyping import Float

from cnnjax import runtime
from cnnjax.errors import InputError

SETTLE = 0.01
"""Seconds for which the threads of one program may wait busily for more work, on cores that are the next one's.

Those of PyTorch (OpenMP) do: a convolution of cnnjax that took 1.8 ms by itself took 3.5 right behind one of
PyTorch's, whereas PyTorch's took the same behind any other."""


def check_cpu(*, seconds: float | int, threads: int = 0) -> None:
    """Raise InputError where JAX does not run on the CPU, and for a time or a number of threads that cannot be."""
    if not runtime.on_cpu():
        raise InputError(
            f"this benchmark compares CPU programs, but JAX runs on {jax.default_backend()}: set JAX_PLATFORMS=cpu"
        )
    if seconds <= 0 or threads < 0:
        raise InputError(f"seconds={seconds} must be positive, and threads={threads} not negative")


@contextlib.contextmanager
def without_kernels() -> Iterator[None]:
    """Leaves the convolutions of all programs that are compiled within to XLA."""
    runtime.configure(kernels=False)
    try:
        yield
    finally:
        runtime.configure(kernels=True)


def interleave(
    programs: Mapping[str, Callable[[], object]], *, seconds: float | int, rounds: int = 5
) -> dict[str, Float[np.ndarray, " rounds"]]:
    """Seconds that each program takes, round by round: every program once a round, in an order that turns.

    Each is called twice before, which compiles it and warms the caches. In its turn it is called without a clock until
    it has the cores to itself, and then once more. At least `rounds` rounds are measured, and as many as fit into
    `seconds`.
    """
    for program in programs.values():
        program()
        program()
    names = list(programs)
    times: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds
    while len(times[names[0]]) < rounds or time.perf_counter() < end:
        for name in names:
            settled = time.perf_counter() + SETTLE
            programs[name]()
            while time.perf_counter() < settled:
                programs[name]()
            begin = time.perf_counter()
            programs[name]()
            times[name].append(time.perf_counter() - begin)
        names = names[1:] + names[:1]
    return {name: np.asarray(taken) for name, taken in times.items()}


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How many times as fast one program is as its peer: median and quartiles over the rounds."""

    median: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def speed_ratio(ours: Float[np.ndarray, " rounds"], peer: Float[np.ndarray, " rounds"]) -> Ratio:
    """The peer's time over ours, round by round; above 1 we are faster."""
    low, median, high = np.quantile(peer / ours, (0.25, 0.5, 0.75))
    return Ratio(float(median), float(low), float(high), len(ours))


def geometric_mean(ratios: Iterable[Ratio]) -> Ratio:
    """Geometric means of the medians and of the quartiles; `rounds` is how many ratios there are."""
    rows = [(ratio.median, ratio.low, ratio.high) for ratio in ratios]
    median, low, high = np.exp(np.log(rows).mean(0))
    return Ratio(float(median), float(low), float(high), len(rows))
