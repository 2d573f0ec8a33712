"""Programs timed in turn, so that whatever else the machine does falls on all of them alike."""

import dataclasses
import time
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float


def interleave(
    programs: Mapping[str, Callable[[], object]], *, seconds: float | int, rounds: int = 5
) -> dict[str, Float[np.ndarray, " rounds"]]:
    """Seconds that each program takes, round by round: every program once a round, in an order that turns.

    Each is called twice before, which compiles it and warms the caches. At least `rounds` rounds are measured, and as
    many as fit into `seconds`.
    """
    for program in programs.values():
        program()
        program()
    names = list(programs)
    times: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds
    while len(times[names[0]]) < rounds or time.perf_counter() < end:
        for name in names:
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
