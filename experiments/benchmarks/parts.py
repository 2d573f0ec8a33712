"""What does a training step spend its time on, on this CPU?

Times the steps of a network, then runs some under XLA's own trace and adds up the operations of the compiled program by
what they are. One operation runs after the other, each on all threads that it is shared out to, so the sum is the time
of a step under the trace, which slows it down a little.

    python -m experiments.benchmarks.parts --networks ResNet-20
    taskset -c 0 python -m experiments.benchmarks.parts --networks ResNet-20      on one core

Expected: convolutions take two thirds.
"""

import collections
import dataclasses
import functools
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import runtime
from cnnjax.errors import InputError
from cnnjax.runs import Progress, Table, main, open_run, show_tables
from cnnjax.training import train_step
from experiments.benchmarks.measure import check_cpu, interleave
from experiments.benchmarks.networks import CASES, Case
from experiments.benchmarks.train import Network, step_arguments, training

TAKES = "half a minute for each network on two cores"

_TRACED = 8  # steps
_KINDS = {
    r"cnnjax_conv.*_forward_": "convolutions, forward",
    r"cnnjax_conv.*_input_": "convolutions, input gradient",
    r"cnnjax_conv.*_weights_": "convolutions, weight gradient",
    r"cnnjax_channels": "sums for each channel",
    r"dot|convolution|ynn|onednn": "XLA's products and sums",
}
"""By the name of an operation, or of what it calls. The rest is computed element by element."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    networks: tuple[Network, ...] = ("ResNet-20",)
    """Whose steps to measure."""
    seconds: float = 8.0
    """How long each network's steps are timed, without the trace."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_parts/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure every network, print the table, write it, and return the run directory."""
    runtime.configure()  # before JAX starts its threads, which keep what settings of malloc they find
    check_cpu(seconds=config.seconds)
    if not config.networks:
        raise InputError(f"networks is empty: name at least one of {', '.join(CASES)}")
    with open_run("benchmarks_parts", config, out=config.out) as directory:
        found = {}
        with Progress(len(config.networks)) as progress:
            for name in config.networks:
                progress.cell(name)
                found[name] = _parts(CASES[name], config.seconds)
        kinds = [*_KINDS.values(), "element by element", "a step under the trace", "a step", "its quartiles"]
        rows = [{"part": kind, **{name: parts.get(kind) for name, parts in found.items()}} for kind in kinds]
        cores = len(os.sched_getaffinity(0))
        caption = f"Milliseconds on {cores} cores; jax {jax.__version__}. Median over steps; the trace is of {_TRACED}."
        show_tables(directory, [Table(rows, "A training step by part", caption, digits=1)])
        return directory.path


def _parts(case: Case, seconds: float) -> dict[str, Any]:
    spec, state, images, labels = training(case)
    rest, kept = step_arguments(images, labels), [jax.tree.map(jnp.array, state)]
    jitted = jax.jit(functools.partial(train_step, spec), donate_argnums=0, compiler_options=runtime.compiler_options())
    compiled = jitted.lower(kept[0], *rest).compile()

    def step() -> None:
        kept.append(jax.block_until_ready(compiled(kept.pop(), *rest))[0])

    times = interleave({"step": step}, seconds=seconds)["step"] * 1e3
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(_TRACED):
                step()
        (trace,) = Path(folder).rglob("*.xplane.pb")
        parts = _by_kind(jax.profiler.ProfileData.from_file(str(trace)), compiled.as_text() or "")
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    whole = {"a step under the trace": sum(parts.values()), "a step": median, "its quartiles": f"{low:.1f}–{high:.1f}"}
    return parts | whole


def _by_kind(trace: Any, program: str) -> dict[str, float]:
    """Milliseconds of a step for each kind of operation of a compiled program."""
    operations = {name: name for name in re.findall(r"^ *(?:ROOT )?%([\w.-]+) = ", program, re.MULTILINE)}
    operations |= dict(re.findall(r'%([\w.-]+) = .*custom_call_target="([^"]+)"', program))
    taken: dict[str, float] = collections.defaultdict(float)
    for plane in trace.planes:
        for event in (event for line in plane.lines for event in line.events):
            if called := operations.get(event.name):
                kind = next((kind for pattern, kind in _KINDS.items() if re.search(pattern, called)), None)
                taken[kind or "element by element"] += event.duration_ns / 1e6 / _TRACED
    return taken


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.parts", can_tell=False)
