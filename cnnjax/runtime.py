"""How this process runs on its machine: the compiler option, allocator and cache that the CPU backend needs.

This is the only module that knows. Figures behind each choice: the CPU backend hands convolutions to a library path
whose weight gradients are several times slower than its own; a training step frees and faults in its temporaries anew
each time; and compiling a network takes longer than a short run of it.
"""

import ctypes
import functools
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cnnjax import dry_run
from cnnjax.door.choices import check_choice

# Leaves matrix products and reductions on the library path and takes individual convolutions off it. Products go there
# by themselves: fused with what makes them (LIBRARY_FUSION_TYPE_DOT), one by a matrix of equal numbers comes out wrong.
_CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"}

_kernels: bool | None = None  # what `configure` was told

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h


def on_cpu() -> bool:
    """Whether programs run on a CPU by default: what is chosen by the backend asks here."""
    return jax.default_backend() == "cpu"


@functools.cache
def compiler_options() -> dict[str, str]:
    """The compiler options of the default backend: empty but on a CPU whose compiler knows the convolution option."""
    if not on_cpu():
        return {}
    try:
        # The option is experimental: a compiler without it refuses it by name.
        jax.jit(lambda x: x + 1, compiler_options=_CPU_OPTIONS).lower(jnp.zeros(())).compile()
    except (jax.errors.JaxRuntimeError, ValueError):
        return {}
    return _CPU_OPTIONS


def jit(f: Callable, **options: Any) -> Callable:
    """`jax.jit(f, **options)` with the backend's compiler options, looked up at the first call.

    As with every compiler option of JAX, the result is called from Python, not from inside another `jit`.
    """

    @functools.cache
    def jitted() -> Callable:
        return jax.jit(f, compiler_options=compiler_options(), **options)

    return functools.wraps(f)(lambda *args, **kwargs: jitted()(*args, **kwargs))


def cache_directory() -> Path | None:
    """Where decoded data and compiled programs are kept: `$CNNJAX_CACHE`, or this user's cache directory.

    None in a dry run, which writes nothing, and, after a warning, when that cannot be known because platformdirs is
    missing.
    """
    if dry_run.folder() is not None:
        return None
    if chosen := os.environ.get("CNNJAX_CACHE"):
        return Path(chosen).expanduser()
    try:
        import platformdirs
    except ImportError:
        warnings.warn(
            "nothing is kept between runs: the package platformdirs is missing and CNNJAX_CACHE is not set",
            stacklevel=2,
        )
        return None
    return Path(platformdirs.user_cache_dir("cnnjax", appauthor=False))


def configure(*, kernels: bool | None = None) -> None:
    """Prepare this process for long work: keep freed memory, and keep compiled programs on disk.

    Call it first: threads that JAX has started, as `jax.devices()` does, keep the allocator that they found, and a
    training step can then take 1.4 times as long. A compilation cache that is already configured is left as it is.
    `kernels` says whether programs compiled from now on for the CPU have their convolutions computed by
    `cnnjax.kernels`; None leaves that to the environment variable CNNJAX_KERNELS, "on", "off" or "log", without which
    they do.
    """
    global _kernels
    if kernels is not None:
        _kernels = kernels
    _keep_freed_memory()
    if dry_run.folder() is not None:
        jax.config.update("jax_enable_compilation_cache", False)
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    if (folder := cache_directory()) is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def kernels_wanted() -> bool:
    """Whether convolutions on the CPU are computed by `cnnjax.kernels` where they can be.

    Raises InputError for a CNNJAX_KERNELS that is none of "on", "off" and "log".
    """
    chosen = _kernels_variable()
    return chosen != "off" if _kernels is None else _kernels


def kernels_logged() -> bool:
    """Whether every convolution that is compiled for the CPU is to say what computes it."""
    return _kernels_variable() == "log"


def _kernels_variable() -> str:
    chosen = os.environ.get("CNNJAX_KERNELS", "on")
    check_choice("CNNJAX_KERNELS", chosen, ("on", "off", "log"))
    return chosen


def _keep_freed_memory() -> None:
    """Ask glibc to keep what a step frees, so that the next step does not fault it in again."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        # XLA asks for the memory of a step at once: 1.6 GB for ResNet-50 and 16 images, whose 380,000 page faults took
        # a quarter of the step's time. So without a limit of size, which is what −1 is to glibc.
        mallopt(_M_MMAP_THRESHOLD, -1)
        mallopt(_M_TRIM_THRESHOLD, -1)
        # Threads' own arenas are of 64 MiB and give back what is free whatever the thresholds: 74,000 page faults in
        # a training step of ResNet-20. The one arena of the process keeps it: none, and 0.7 times the step's time.
        mallopt(_M_ARENA_MAX, 1)


def evaluation_batch(pixels: int) -> int:
    """Images of so many pixels to classify at once: as many as a CPU works on best, or as fill an accelerator."""
    at_32 = 512 if on_cpu() else 16384
    return max(1, at_32 * 32 * 32 // pixels)
