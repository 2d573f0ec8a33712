"""How fast are the operations on this CPU, measured against PyTorch in the same run?

Times the forward pass, the input gradient and the weight gradient of every convolution shape in ResNet-20 and ResNet-18
(32-pixel images), AlexNet (224 pixels, two towers) and a depthwise separable block; max pooling with its gradient; and
a whole training step of ResNet-20. Programs take turns, so that other work on the machine falls on both alike. Before
it is timed, every pass is compared with PyTorch's result.

    python -m experiments.benchmarks.ops

Expected: about three minutes on two cores. Above 1 cnnjax is faster. Needs PyTorch: pip install torch==2.13.0
"""

import dataclasses
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnnjax import models, ops, runtime
from cnnjax.errors import InputError
from cnnjax.files import write_atomic
from cnnjax.study import Progress, main, markdown, open_run, print_table
from experiments.benchmarks.measure import Ratio, interleave, speed_ratio
from experiments.benchmarks.shapes import SHAPES, ConvShape

POOLS = ((128, 32, 32, 2, 2, 0), (64, 32, 64, 3, 2, 1), (16, 55, 96, 3, 2, 0), (16, 112, 64, 3, 2, 1))
"""Batch, size, channels, window, stride, padding: a small network's, a stem's, AlexNet's first, ResNet's at 224 px."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    networks: tuple[Literal["ResNet-20", "ResNet-18", "AlexNet", "depthwise"], ...] = (
        "ResNet-20",
        "ResNet-18",
        "AlexNet",
        "depthwise",
    )
    """Whose convolutions to measure."""
    seconds: float = 1.0
    """How long each pass is measured, in turns with its peer."""
    threads: int = 0
    """PyTorch's threads; 0 is one for each core that this process may use, which is what XLA takes."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_ops/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure everything, print the table, write it as Markdown and CSV, and return the run directory."""
    if jax.default_backend() != "cpu":
        raise InputError(
            f"this benchmark compares CPU programs, but JAX runs on {jax.default_backend()}: set JAX_PLATFORMS=cpu"
        )
    if not config.networks:
        raise InputError("networks is empty: name at least one of ResNet-20, ResNet-18, AlexNet, depthwise")
    if config.seconds <= 0 or config.threads < 0:
        raise InputError(f"seconds={config.seconds} must be positive, and threads={config.threads} not negative")
    import pandas

    peer = importlib.import_module("experiments.benchmarks.torch_peer")
    threads = config.threads or len(os.sched_getaffinity(0))
    peer.torch.set_num_threads(threads)
    runtime.configure()
    rows: list[dict[str, Any]] = []
    with open_run("benchmarks_ops", config, out=config.out) as directory:
        shapes = [shape for shape in SHAPES if shape.network in config.networks]
        with Progress(len(shapes) + 2) as progress:
            for shape in shapes:
                progress.cell(f"{shape.network}: {shape}")
                rows += _convolution(shape, peer, config.seconds)
            progress.cell("max pooling")
            rows += [row for pool in POOLS for row in _max_pool(*pool, peer, config.seconds)]
            progress.cell("ResNet-20 training step")
            rows += _step(peer, config.seconds)
        frame = pandas.DataFrame([{**row, **dataclasses.asdict(row["ratio"])} for row in rows])
        directory.write_summary(frame.drop(columns="ratio"))
        shown = [{**row, "ratio": str(row["ratio"])} for row in rows] + _means(rows)
        caption = (
            f"ratio: PyTorch's time over cnnjax's, median (quartiles) over rounds in turn; above 1 cnnjax is faster. "
            f"XLA / cnnjax: the same of cnnjax without its kernels. "
            f"{threads} threads; jax {jax.__version__}, PyTorch {peer.torch.__version__}."
        )
        print_table(shown, title="Operations against PyTorch", caption=caption, digits=2)
        write_atomic(directory.path / "table.md", markdown(shown, caption=caption, digits=2))
        return directory.path


def _convolution(shape: ConvShape, peer: Any, seconds: float) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    draw = lambda *size: rng.normal(size=size).astype(np.float32)  # noqa: E731
    x = draw(shape.batch, shape.size, shape.size, shape.channels)
    kernel = draw(shape.kernel, shape.kernel, shape.channels // shape.groups, shape.features)
    cotangent = draw(shape.batch, shape.out_size, shape.out_size, shape.features)

    def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return ops.conv(x, kernel, stride=shape.stride, padding=shape.padding, groups=shape.groups)

    passes: dict[str, tuple[Callable, tuple[np.ndarray, ...]]] = {
        "forward": (conv, (x, kernel)),
        "input gradient": (lambda k, c: jax.vjp(lambda x: conv(x, k), x)[1](c)[0], (kernel, cotangent)),
        "weight gradient": (lambda x, c: jax.vjp(lambda k: conv(x, k), kernel)[1](c)[0], (x, cotangent)),
    }
    theirs = peer.convolution_passes(shape, x, kernel, cotangent)
    return [
        _compare(
            shape.network,
            str(shape),
            name,
            _ready(function, arrays),
            theirs[name],
            seconds,
            flops=shape.flops,
            by_xla=_ready(function, arrays, kernels=False),
        )
        for name, (function, arrays) in passes.items()
    ]


def _max_pool(
    batch: int, size: int, channels: int, window: int, stride: int, padding: int, peer: Any, seconds: float
) -> list[dict[str, Any]]:
    x = np.random.default_rng(0).normal(size=(batch, size, size, channels)).astype(np.float32)
    gradient = jax.grad(lambda x: jnp.sum(ops.max_pool(x, window, stride=stride, padding=padding) ** 2))
    theirs = peer.max_pool_gradient(x, window, stride, padding)
    what = f"{window}×{window}/{stride} of {channels} at {size}²"
    return [_compare("max pool", what, "forward + gradient", _ready(gradient, (x,)), theirs, seconds)]


def _step(peer: Any, seconds: float) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    images, labels = rng.random((128, 32, 32, 3), np.float32), rng.integers(0, 10, 128)
    model, optimizer = models.resnet20(num_classes=10), optax.sgd(0.1, momentum=0.9)

    def step(params: Any, statistics: Any, momentum: Any, images: jax.Array, labels: jax.Array) -> Any:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            variables = {"params": params, "batch_stats": statistics}
            (logits, _), updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updated["batch_stats"]

        (value, new_statistics), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, new_momentum = optimizer.update(gradient, momentum, params)
        return value, (optax.apply_updates(params, updates), new_statistics, new_momentum)

    variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    state = (variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))
    arrays = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
    jitted = runtime.jit(step, donate_argnums=(0, 1, 2))

    def ours() -> float:
        nonlocal state
        value, state = jitted(*state, *arrays)
        return float(value)

    times = interleave({"ours": ours, "peer": peer.resnet20_step(images, labels)}, seconds=5 * seconds)
    return [_row("ResNet-20", "batch 128 at 32²", "training step", times)]


def _ready(function: Callable, arrays: tuple[np.ndarray, ...], *, kernels: bool = True) -> Callable[[], jax.Array]:
    """The function of these arrays, compiled with `cnnjax.kernels` or without."""
    runtime.configure(kernels=kernels)
    # A function of its own: JAX keeps what it has compiled of another.
    jitted, given = runtime.jit(lambda *arrays: function(*arrays)), [jnp.asarray(a) for a in arrays]
    jax.block_until_ready(jitted(*given))
    runtime.configure(kernels=True)
    return lambda: jax.block_until_ready(jitted(*given))


def _compare(
    network: str,
    what: str,
    name: str,
    ours: Callable[[], jax.Array],
    theirs: Callable[[], np.ndarray],
    seconds: float,
    *,
    flops: int | None = None,
    by_xla: Callable[[], jax.Array] | None = None,
) -> dict[str, Any]:
    """One row of the table, after the proof that all compute the same."""
    expected = theirs()
    scale = np.abs(expected).max()
    programs = {"ours": ours} | ({"xla": by_xla} if by_xla else {})
    for program in programs.values():
        np.testing.assert_allclose(
            np.asarray(program()) / scale, expected / scale, atol=1e-4, rtol=0, err_msg=f"{what}, {name}"
        )
    return _row(network, what, name, interleave({**programs, "peer": theirs}, seconds=seconds), flops=flops)


def _row(
    network: str, what: str, name: str, times: dict[str, np.ndarray], *, flops: int | None = None
) -> dict[str, Any]:
    ours, theirs = (float(np.median(times[key])) for key in ("ours", "peer"))
    return {
        "network": network,
        "shape": what,
        "pass": name,
        "cnnjax ms": ours * 1e3,
        "PyTorch ms": theirs * 1e3,
        "GFLOP/s": round(flops / ours / 1e9) if flops else None,
        "XLA / cnnjax": str(speed_ratio(times["ours"], times["xla"])) if "xla" in times else None,
        "ratio": speed_ratio(times["ours"], times["peer"]),
    }


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The geometric mean and the slowest of the ratios, for each pass of a convolution and for all of them."""
    names = ("forward", "input gradient", "weight gradient")
    table = []
    for label, chosen in (*((name, (name,)) for name in names), ("all three", names)):
        ratios: list[Ratio] = [row["ratio"] for row in rows if row["pass"] in chosen]
        median, low, high = (
            float(np.exp(np.mean(np.log([getattr(r, q) for r in ratios])))) for q in ("median", "low", "high")
        )
        slowest = min(r.median for r in ratios)
        mean = Ratio(median, low, high, len(ratios))
        table.append(
            {
                "network": "geometric mean",
                "shape": f"{len(ratios)} rows, least {slowest:.2f}",
                "pass": label,
                "ratio": str(mean),
            }
        )
    return table


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.ops")
