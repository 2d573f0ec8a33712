"""How fast is a training step on this CPU, and a forward pass, against PyTorch's in the same run?

Measures the library's own training step, and the forward pass alone, which the analyses consist of, of ResNet-20,
ResNet-18 at 32 pixels, a small network with max pooling, LeNet, depthwise separable convolutions, and AlexNet and
ResNet-50 at 224 pixels. Beside it, in turns: PyTorch as it comes (eager, maps in `channels_last`, the same process and
so the same allocator), PyTorch with `torch.compile`, and cnnjax with its convolutions left to XLA. All begin with the
same weights; logits and the losses of the first two steps must agree before anything is timed.

    python -m experiments.benchmarks.train
    taskset -c 0 python -m experiments.benchmarks.train      on one core

Above 1 cnnjax is faster. Needs PyTorch: pip install torch==2.13.0
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import runtime
from cnnjax.errors import InputError
from cnnjax.runs import Progress, Table, main, open_run, show_tables
from cnnjax.training import Epoch, Settings, StepSpec, TrainConfig, TrainState, init_state, train_step
from experiments.benchmarks.measure import Ratio, check_cpu, geometric_mean, interleave, speed_ratio, without_kernels
from experiments.benchmarks.networks import CASES, Case

TAKES = "about ten minutes on two cores"

Network = Literal["ResNet-20", "ResNet-18", "max pooling", "LeNet", "depthwise", "AlexNet", "ResNet-50"]
LEARNING_RATE, WEIGHT_DECAY = 0.01, 5e-4
PEERS = {"peer": "PyTorch", "compiled": "torch.compile", "xla": "XLA"}


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    networks: tuple[Network, ...] = tuple(CASES)  # pyright: ignore[reportAssignmentType]
    """Which networks to measure."""
    seconds: float = 8.0
    """How long each network's steps, and its forward passes, are measured in turns with their peers: five rounds at
    least."""
    threads: int = 0
    """PyTorch's threads; 0 is one for each core that this process may use, which is what XLA takes."""
    compiled: bool = True
    """Whether to measure `torch.compile`, which takes a minute or more to compile for the large networks."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_train/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure every network, print the table, write it as Markdown and CSV, and return the run directory."""
    runtime.configure()  # before JAX starts its threads, which keep what settings of malloc they find
    check_cpu(seconds=config.seconds, threads=config.threads)
    if not config.networks:
        raise InputError(f"networks is empty: name at least one of {', '.join(CASES)}")
    import pandas

    threads = importlib.import_module("experiments.benchmarks.torch_peer").use_threads(config.threads)
    peers = importlib.import_module("experiments.benchmarks.torch_networks")
    reason = peers.why_not_compiled() if config.compiled else "not asked for"
    with open_run("benchmarks_train", config, out=config.out) as directory:
        rows: list[dict[str, Any]] = []
        with Progress(len(config.networks)) as progress:
            for name in config.networks:
                measure = functools.partial(_measured, name, CASES[name], peers, config.seconds, reason is None)
                rows += directory.once(name.replace(" ", "_"), "result.json", measure, progress=progress)
        directory.write_table("summary", pandas.DataFrame([_flat(row) for row in rows]))
        passes = list(dict.fromkeys(row["pass"] for row in rows))
        shown = [_shown(row) for row in rows] + [_mean(rows, name) for name in passes]
        caption = (
            "Ratios: the other's time over cnnjax's, median (quartiles) over rounds in turn; above 1 cnnjax is faster. "
            "PyTorch is eager; XLA is cnnjax without its kernels. "
            + ("" if reason is None else f"No torch.compile: {reason}. ")
            + f"{threads} threads; jax {jax.__version__}, PyTorch {peers.torch.__version__}."
        )
        show_tables(directory, [Table(shown, "Training steps against PyTorch", caption, digits=2)])
        return directory.path


def _measured(name: str, case: Case, peers: Any, seconds: float, compiled: bool) -> list[dict[str, Any]]:
    """A row for the training step and one for the forward pass."""
    spec, state, images, labels = training(case)
    network = peers.peer(name, state.variables["params"])
    theirs = {"peer": network} | ({"compiled": peers.compiled(network)} if compiled else {})

    pixels = images.astype(np.float32) / 255
    forward = {"ours": _forward(spec, state, pixels)}
    with without_kernels():
        forward["xla"] = _forward(spec, state, pixels)
    forward |= {key: peers.forward_pass(network, pixels) for key, network in theirs.items()}
    _check_equal(f"{name}, logits", {key: program() for key, program in forward.items()}, 1e-3)
    rows = [_row(name, case, "forward", interleave(forward, seconds=seconds))]

    step = {"ours": _step(spec, state, images, labels)}
    with without_kernels():
        step["xla"] = _step(spec, state, images, labels)
    recipe = dict(learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    step |= {key: peers.training_step(network, images, labels, **recipe) for key, network in theirs.items()}
    # What one step rounds in another way, the next ones enlarge.
    for number, within in (("first", 1e-3), ("second", 1e-2)):
        _check_equal(f"{name}, {number} loss", {key: np.array(program()) for key, program in step.items()}, within)
    return [_row(name, case, "training step", interleave(step, seconds=seconds)), *rows]


def training(case: Case) -> tuple[StepSpec, TrainState, np.ndarray, np.ndarray]:
    """What a network's step is made of: its first state, and random images with labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (case.batch, case.side, case.side, case.channels), np.uint8)
    spec = StepSpec(case.network(), "sgd", case.batch, _as_they_are)
    state = jax.tree.map(np.asarray, init_state(spec, jax.random.key(0), images.shape[1:]))
    return spec, state, images, rng.integers(0, 10, case.batch)


def _as_they_are(key: jax.Array, images: jax.Array, strengths: Any) -> jax.Array:
    return images


def _forward(spec: StepSpec, state: Any, pixels: np.ndarray) -> Callable[[], np.ndarray]:
    jitted = runtime.jit(lambda variables, images: spec.model.apply(variables, images)[0])  # pyright: ignore
    variables, x = jax.tree.map(jnp.asarray, (state.variables, pixels))
    jitted(variables, x).block_until_ready()
    return lambda: np.asarray(jitted(variables, x))


def _step(spec: StepSpec, state: Any, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """A step of the training, after one that compiled it; gives the loss before."""
    compiled, rest = runtime.jit(functools.partial(train_step, spec), donate_argnums=0), step_arguments(images, labels)
    kept = [jax.tree.map(jnp.array, state)]
    compiled(jax.tree.map(jnp.array, state), *rest)

    def step() -> float:
        new, metrics = jax.block_until_ready(compiled(kept.pop(), *rest))
        kept.append(new)
        return float(metrics["loss"])

    return step


def step_arguments(images: np.ndarray, labels: np.ndarray) -> tuple[Any, ...]:
    """What a step takes after the state: all images are one batch."""
    recipe = TrainConfig(
        epochs=1, learning_rate=LEARNING_RATE, schedule="constant", warmup=0.0, weight_decay=WEIGHT_DECAY,
        batch_size=len(images),
    )  # fmt: skip
    epoch = Epoch(jnp.arange(len(images)), jnp.asarray(images), jnp.asarray(labels, jnp.int32))
    return jax.random.key(0), epoch, Settings(recipe.hyper(len(images)), ())


def _check_equal(what: str, results: dict[str, np.ndarray], within: float) -> None:
    """Raise unless all programs come to the numbers of ours, `within` a share of the largest."""
    ours = results["ours"]
    for key, found in results.items():
        far = np.abs(found - ours).max() / np.abs(ours).max()
        if not far < within:
            raise ArithmeticError(f"{what}: {PEERS[key]} comes to others than cnnjax, by {far:.2g} of the largest")


def _row(name: str, case: Case, what: str, times: dict[str, np.ndarray]) -> dict[str, Any]:
    """Milliseconds of each program, and its time over ours."""
    return {
        "network": name,
        "images": str(case),
        "pass": what,
        "ms": {key: float(np.median(taken)) * 1e3 for key, taken in times.items()},
        "ratios": {key: dataclasses.asdict(speed_ratio(times["ours"], times[key])) for key in times if key in PEERS},
    }


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the summary."""
    names = {"ours": "cnnjax", **PEERS}
    flat = {key: row[key] for key in ("network", "images", "pass")}
    flat |= {f"{names[key]} ms": ms for key, ms in row["ms"].items()}
    return flat | {
        f"{PEERS[key]} {field}": value for key, ratio in row["ratios"].items() for field, value in ratio.items()
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table."""
    names = {"ours": "cnnjax", **PEERS}
    shown = {key: row[key] for key in ("network", "images", "pass")}
    shown |= {f"{name} ms": row["ms"].get(key) for key, name in names.items()}
    return shown | {
        f"{name} / cnnjax": str(Ratio(**row["ratios"][key])) if key in row["ratios"] else None
        for key, name in PEERS.items()
    }


def _mean(rows: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """The geometric means over all networks."""
    chosen = [row["ratios"] for row in rows if row["pass"] == what]
    means = {
        f"{name} / cnnjax": str(geometric_mean(Ratio(**ratios[key]) for ratios in chosen if key in ratios))
        for key, name in PEERS.items()
        if any(key in ratios for ratios in chosen)
    }
    return {"network": "geometric mean", "images": f"{len(chosen)} networks", "pass": what, **means}


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.train", can_tell=False)
