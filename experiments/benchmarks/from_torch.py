"""How fast is a network of PyTorch through `models.from_torch`, against the same network here?

The peer of `experiments.benchmarks.train` in PyTorch is brought over; its forward pass and that of the library's own
network, with the same weights, are timed in turns, with the weights as arguments, as `models.bind` gives them, and as
constants. Arguments are turned from PyTorch's order of axes in each call; constants once, by the compiler. Logits must
agree before anything is timed. How long it takes to export the module and to trace the function, each the second time,
is measured too.

    python -m experiments.benchmarks.from_torch

Expected: at most 1.15 of the time of the library's own for 16 images or constant weights.
Needs PyTorch: pip install torch==2.13.0
"""

import dataclasses
import functools
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import models, runtime
from cnnjax.errors import InputError
from cnnjax.runs import Progress, Table, main, open_run, show_tables
from experiments.benchmarks.measure import check_cpu, interleave, speed_ratio
from experiments.benchmarks.networks import CASES
from experiments.benchmarks.train import Network

TAKES = "about two minutes on one core"


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    network: Network = "ResNet-50"
    """Which network to measure."""
    batches: tuple[int, ...] = (4, 16)
    """Numbers of images."""
    seconds: float = 15.0
    """How long the programs for each number of images are measured in turns: five rounds at least."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_from_torch/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure, print the table, write it as Markdown and CSV, and return the run directory."""
    runtime.configure()  # before JAX starts its threads, which keep what settings of malloc they find
    check_cpu(seconds=config.seconds)
    if not config.batches or min(config.batches) < 1:
        raise InputError(f"batches={config.batches} must be numbers of images, each at least 1")
    import pandas

    torchs = importlib.import_module("experiments.benchmarks.torch_networks")
    with open_run("benchmarks_from_torch", config, out=config.out) as directory:
        rows: list[dict[str, Any]] = []
        with Progress(len(config.batches)) as progress:
            for batch in config.batches:
                measure = functools.partial(_measured, config.network, batch, torchs, config.seconds)
                rows += directory.once(f"{batch}_images", "result.json", measure, progress=progress)
        directory.write_table("summary", pandas.DataFrame(rows))
        caption = (
            f"{config.network}: the time through from_torch over that of the library's own network, median (quartiles) "
            f"over rounds in turn; below 1 from_torch is faster. jax {jax.__version__}, "
            f"PyTorch {torchs.torch.__version__}."
        )
        show_tables(directory, [Table(rows, "Networks of PyTorch against the library's own", caption, digits=2)])
        return directory.path


def _measured(name: str, batch: int, torchs: Any, seconds: float) -> list[dict[str, Any]]:
    """A row for weights as arguments and one for weights as constants."""
    case = CASES[name]
    shape = (case.side, case.side, case.channels)
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(batch, *shape)).astype(np.float32))
    own = case.network()
    own_variables = own.init(jax.random.key(0), images[:1])
    module = torchs.peer(name, own_variables["params"])
    models.from_torch(module, shape)
    begin = time.perf_counter()
    brought, variables = models.from_torch(module, shape)
    exported = time.perf_counter() - begin
    begin = time.perf_counter()
    jax.jit(lambda images: brought(variables, images)).trace(images)
    traced = time.perf_counter() - begin

    def program(apply: Callable[..., Any], weights: Any, *, constant: bool) -> Callable[[], np.ndarray]:
        if constant:
            jitted = runtime.jit(lambda images: apply(weights, images)[0])
            return lambda: np.asarray(jitted(images))
        jitted = runtime.jit(lambda weights, images: apply(weights, images)[0])
        return lambda: np.asarray(jitted(weights, images))

    rows = []
    for constant in (False, True):
        programs = {
            "from_torch": program(brought, variables, constant=constant),
            "cnnjax": program(own.apply, own_variables, constant=constant),
        }
        first, second = (one() for one in programs.values())
        if not (far := np.abs(first - second).max() / np.abs(second).max()) < 1e-3:
            raise ArithmeticError(f"{name} comes to other logits through from_torch, by {far:.2g} of the largest")
        times = interleave(programs, seconds=seconds)
        rows.append(
            {
                "images": batch,
                "weights": "constants" if constant else "arguments",
                **{f"{key} ms": float(np.median(taken)) * 1e3 for key, taken in times.items()},
                "from_torch / cnnjax": str(speed_ratio(times["cnnjax"], times["from_torch"])),
                "export s": exported,
                "trace s": traced,
            }
        )
    return rows


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.from_torch", can_tell=False)
