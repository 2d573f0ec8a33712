"""How fast are the operations on this CPU, measured against PyTorch in the same run?

Times the forward pass, the input gradient and the weight gradient of every convolution shape in ResNet-20 and ResNet-18
(32-pixel images), AlexNet (224 pixels, two towers) and a depthwise separable block; max pooling with its gradient; and
by name what is known to be slow on a CPU or is built on convolutions: signals, transposed convolutions, a loop, wide
depthwise windows, groups, blur and polyphase pools. Programs take turns, so that other work on the machine falls on all
alike, and XLA's convolutions, cnnjax without its kernels, are among them. Before it is timed, every pass is compared
with the others' results. `--xla onednn` and others choose XLA's options.

    python -m experiments.benchmarks.ops

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

from cnnjax import ops, runtime
from cnnjax.errors import InputError
from cnnjax.runs import Progress, Table, main, open_run, show_tables
from experiments.benchmarks.measure import (
    Ratio,
    check_cpu,
    geometric_mean,
    interleave,
    speed_ratio,
    without_kernels,
)
from experiments.benchmarks.named import NAMED, Named
from experiments.benchmarks.shapes import SHAPES, ConvShape

TAKES = "about three minutes on two cores"

POOLS = ((128, 32, 32, 2, 2, 0), (64, 32, 64, 3, 2, 1), (16, 55, 96, 3, 2, 0), (16, 112, 64, 3, 2, 1))
"""Batch, size, channels, window, stride, padding: a small network's, a stem's, AlexNet's first, ResNet's at 224 px."""


NETWORKS = ("ResNet-20", "ResNet-18", "AlexNet", "depthwise")
_FUSION = "xla_cpu_experimental_ynn_fusion_type"
XLA_OPTIONS: dict[str, dict[str, Any] | None] = {
    "runtime": None,
    "plain": {},
    "dot": {_FUSION: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"},
    "onednn": {
        "xla_cpu_experimental_onednn_custom_call": True,
        _FUSION: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE",
    },
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    networks: tuple[Literal["ResNet-20", "ResNet-18", "AlexNet", "depthwise"], ...] = NETWORKS
    """Whose convolutions to measure."""
    by_name: bool = True
    """Whether to measure pools, too, and the convolutions that have a name of their own."""
    xla: Literal["runtime", "plain", "dot", "onednn"] = "runtime"
    """The compiler options of XLA's column: those of `runtime.jit`, none, without the reductions of the first, or with
    oneDNN's convolutions, which jaxlib 0.12 has and 0.10 takes without a word."""
    seconds: float = 1.0
    """How long each pass is measured, in turns with its peer."""
    threads: int = 0
    """PyTorch's threads; 0 is one for each core that this process may use, which is what XLA takes."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_ops/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure everything, print the table, write it as Markdown and CSV, and return the run directory."""
    runtime.configure()  # before JAX starts its threads, which keep what settings of malloc they find
    check_cpu(seconds=config.seconds, threads=config.threads)
    if not config.networks:
        raise InputError(f"networks is empty: name at least one of {', '.join(NETWORKS)}")
    import pandas

    peer = importlib.import_module("experiments.benchmarks.torch_peer")
    threads = peer.use_threads(config.threads)
    rows: list[dict[str, Any]] = []
    with open_run("benchmarks_ops", config, out=config.out) as directory:
        shapes = [shape for shape in SHAPES if shape.network in config.networks]
        pools, named = (POOLS, NAMED) if config.by_name else ((), ())
        with Progress(len(shapes) + len(pools) + len(named)) as progress:
            for shape in shapes:
                progress.cell(f"{shape.network}: {shape}")
                rows += _convolution(shape, peer, config)
            for pool in pools:
                progress.cell("max pooling")
                rows.append(_max_pool(*pool, peer, config))
            for one in named:
                progress.cell(f"{one.name}: {one.what}")
                rows += _named(one, peer, config)
        directory.write_table("summary", pandas.DataFrame([_flat(row) for row in rows]))
        shown = [
            {key: str(value) if isinstance(value, Ratio) else value for key, value in row.items()}
            for row in rows + _means(rows)
        ]
        caption = (
            f"ratio: PyTorch's time over cnnjax's, median (quartiles) over rounds in turn; above 1 cnnjax is faster. "
            f"XLA / cnnjax: the same of cnnjax without its kernels, compiler options: {config.xla}. "
            f"{threads} threads; jax {jax.__version__}, PyTorch {peer.torch.__version__}."
        )
        show_tables(directory, [Table(shown, "Operations against PyTorch", caption, digits=2)])
        return directory.path


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the summary: a column for each number of a ratio, named after it, those to PyTorch without a prefix."""
    flat = {key: value for key, value in row.items() if key not in ("ratio", "XLA / cnnjax")}
    for prefix, key in (("", "ratio"), ("XLA ", "XLA / cnnjax")):
        for field in dataclasses.fields(Ratio):
            flat[prefix + field.name] = getattr(row[key], field.name, None)
    return flat


def _convolution(shape: ConvShape, peer: Any, config: Config) -> list[dict[str, Any]]:
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
            config.seconds,
            flops=shape.flops,
            by_xla=_by_xla(function, arrays, config),
        )
        for name, (function, arrays) in passes.items()
    ]


def _max_pool(
    batch: int, size: int, channels: int, window: int, stride: int, padding: int, peer: Any, config: Config
) -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(batch, size, size, channels)).astype(np.float32)
    gradient = jax.grad(lambda x: jnp.sum(ops.max_pool(x, window, stride=stride, padding=padding) ** 2))
    theirs = peer.max_pool_gradient(x, window, stride, padding)
    what = f"{window}×{window}/{stride} of {channels} at {size}²"
    by_xla = _by_xla(gradient, (x,), config)
    return _compare(
        "max pool", what, "forward + gradient", _ready(gradient, (x,)), theirs, config.seconds, by_xla=by_xla
    )


def _named(named: Named, peer: Any, config: Config) -> list[dict[str, Any]]:
    arrays = tuple(named.arrays())

    def gradients(*arrays: jax.Array) -> Any:
        loss = lambda arrays: jnp.square(named.function(*arrays)).sum() / 2  # noqa: E731
        return list(jax.grad(loss)(arrays))

    theirs = peer.named_passes(named, arrays) if named.peer else {}
    return [
        _compare(
            named.name,
            named.what,
            name,
            _ready(function, arrays),
            theirs.get(name),
            config.seconds,
            by_xla=_by_xla(function, arrays, config),
        )
        for name, function in (("forward", named.function), ("forward + gradients", gradients))
    ]


def _ready(function: Callable, arrays: tuple[np.ndarray, ...], jit: Callable = runtime.jit) -> Callable[[], Any]:
    """The function of these arrays, compiled."""
    # A function of its own: JAX keeps what it has compiled of another.
    jitted, given = jit(lambda *arrays: function(*arrays)), [jnp.asarray(a) for a in arrays]
    jax.block_until_ready(jitted(*given))
    return lambda: jax.block_until_ready(jitted(*given))


def _by_xla(function: Callable, arrays: tuple[np.ndarray, ...], config: Config) -> Callable[[], Any]:
    """The same without `cnnjax.kernels`, with the compiler options that were chosen."""
    options = XLA_OPTIONS[config.xla]
    with without_kernels():
        jit = runtime.jit if options is None else functools.partial(jax.jit, compiler_options=options)
        return _ready(function, arrays, jit)


def _compare(
    network: str,
    what: str,
    name: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any] | None,
    seconds: float,
    *,
    flops: int | None = None,
    by_xla: Callable[[], Any] | None = None,
) -> dict[str, Any]:
    """One row of the table, after the proof that all compute the same."""
    programs = {"ours": ours}
    programs |= {key: program for key, program in (("xla", by_xla), ("peer", theirs)) if program is not None}
    *others, (_, expected) = ((key, program()) for key, program in programs.items())
    for key, found in others:
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            scale = np.abs(b).max()
            np.testing.assert_allclose(
                np.asarray(a) / scale, np.asarray(b) / scale, atol=1e-4, rtol=0, err_msg=f"{what}, {name}, {key}"
            )
    times = interleave(programs, seconds=seconds)
    medians = {key: float(np.median(taken)) for key, taken in times.items()}
    return {
        "network": network,
        "shape": what,
        "pass": name,
        "cnnjax ms": medians["ours"] * 1e3,
        "PyTorch ms": medians["peer"] * 1e3 if theirs else None,
        "GFLOP/s": round(flops / medians["ours"] / 1e9) if flops else None,
        "XLA / cnnjax": speed_ratio(times["ours"], times["xla"]) if by_xla else None,
        "ratio": speed_ratio(times["ours"], times["peer"]) if theirs else None,
    }


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The geometric mean and the slowest of the ratios, for each pass of a network's convolution and for all."""
    names = ("forward", "input gradient", "weight gradient")
    kinds = {name: [row for row in rows if row["network"] in NETWORKS and row["pass"] == name] for name in names}
    kinds["all three"] = [row for chosen in kinds.values() for row in chosen]
    kinds["by name"] = [row for row in rows if row["network"] in {named.name for named in NAMED} and row["ratio"]]
    return [
        {
            "network": "geometric mean",
            "shape": f"{len(chosen)} rows, least {min(row['ratio'].median for row in chosen):.2f}",
            "pass": label,
            "XLA / cnnjax": geometric_mean(row["XLA / cnnjax"] for row in chosen),
            "ratio": geometric_mean(row["ratio"] for row in chosen),
        }
        for label, chosen in kinds.items()
        if chosen
    ]


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.ops", can_tell=False)
