"""Whether this process can run kernels at all: found out once, by running one."""

import concurrent.futures
import functools
import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cnnjax import runtime
from cnnjax.kernels.geometry import Geometry

_lock = threading.Lock()
_parent = os.getpid()


def ready(devices: int = 1) -> bool:
    """Whether kernels are wanted and work here, in a program that so many devices share.

    The first call tries one, and warns where that fails.
    """
    if not runtime.kernels_wanted():
        return False
    if os.getpid() != _parent:
        return False  # a forked process, in which XLA's threads do not exist
    with _lock:
        hindrance = _hindrance() or (_hindrance_to_sharing() if devices > 1 else None)
    if hindrance is not None:
        _say(hindrance)
    return hindrance is None


def log(text: Callable[[], str]) -> None:
    """Say on the standard error what a convolution became, if CNNJAX_KERNELS=log."""
    if runtime.kernels_logged():
        print(f"cnnjax.kernels: {text()}", file=sys.stderr, flush=True)


@functools.cache
def _say(hindrance: str) -> None:
    warnings.warn(
        f"convolutions on the CPU run by XLA, two to thirty times slower: {hindrance}. "
        f"Set CNNJAX_KERNELS=off to accept that without this warning.",
        RuntimeWarning,
        stacklevel=2,
    )


@functools.cache
def _hindrance() -> str | None:
    # In a thread of its own: this one is in the midst of tracing or lowering another program.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(_tried).result()


@functools.cache
def _hindrance_to_sharing() -> str | None:
    from cnnjax.kernels import shares

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(shares.hindrance).result()


def _tried() -> str | None:
    """What keeps kernels from giving the right result here, if anything."""
    from cnnjax.kernels.frame import UnknownFrameError, header
    from cnnjax.kernels.vectors import UnfitProcessorError

    try:
        header()
        from cnnjax.kernels import machine_code
        from cnnjax.kernels.calls import call

        machine_code.processor()
        device = jax.local_devices(backend="cpu")[0]
        examples = [*_example(_GEOMETRY, tiled=False), *_example(_TILED, tiled=True)[::2]]

        @jax.jit
        def run(operands: Any) -> list[jax.Array]:
            return [
                call(*both, **how, mapped=(False, False)) for (how, *_), both in zip(examples, operands, strict=True)
            ]

        made = run(jax.device_put([operands for _, operands, _ in examples], device))
        for got, (how, _, right) in zip(made, examples, strict=True):
            if not np.allclose(got, right, rtol=1e-5, atol=1e-5):
                return f"a kernel for the {how['which']} pass gave another result than NumPy"
    except ModuleNotFoundError as error:
        return f"the package {error.name} is missing"
    except (UnknownFrameError, UnfitProcessorError, OSError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


_GEOMETRY = Geometry((4, 5), 3, 5, (2, 3), (1, 2), ((1, 0), (1, 1)), (1, 1))
_TILED = Geometry((4, 5), 3, 5, (3, 3), (1, 1), ((1, 0), (1, 1)), (1, 1))

Example = tuple[dict[str, Any], tuple[np.ndarray, np.ndarray], np.ndarray]


def _example(geometry: Geometry, *, tiled: bool) -> list[Example]:
    """The passes of one small convolution, forward first: what is called, its operands and, by NumPy, its result."""
    rng = np.random.default_rng(0)
    x, kernel, cotangent = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((2, *geometry.maps), geometry.kernel, (2, *geometry.made))
    )
    rows, columns = (
        np.array([[[geometry.read_at(axis, i, j) == r for r in range(n)] for j in range(k)] for i in range(o)], float)
        for axis, (n, k, o) in enumerate(zip(geometry.size, geometry.window, geometry.out, strict=True))
    )
    y = np.einsum("iar,jbs,nrsc,abco->nijo", rows, columns, x, kernel)
    x_back = np.einsum("iar,jbs,abco,nijo->nrsc", rows, columns, kernel, cotangent)
    kernel_back = np.einsum("iar,jbs,nrsc,nijo->abco", rows, columns, x, cotangent)
    how = lambda which: {"geometry": geometry, "which": which, "tiled": tiled}  # noqa: E731
    return [
        (how("forward"), (x, kernel), y),
        (how("input"), (cotangent, kernel), x_back),
        (how("weights"), (x, cotangent), kernel_back),
    ]
