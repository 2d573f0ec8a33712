import concurrent.futures
import functools
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, kernels, ops, runtime
from cnnjax.kernels import Geometry, choice, frame, machine_code, trial

X, KERNEL = (jnp.asarray(np.random.default_rng(0).normal(size=s), jnp.float32) for s in ((2, 6, 7, 8), (3, 3, 8, 8)))
GROUPED = {"depthwise": (jnp.ones((3, 3, 1, 8)), 8), "grouped": (jnp.ones((3, 3, 4, 8)), 2), "plain": (KERNEL, 1)}


def step(kernel, groups=1):
    """A convolution and both its gradients, as a new function: nothing of an earlier test is found compiled."""
    return jax.jit(lambda x: jax.vjp(lambda *at: ops.conv(*at, groups=groups), x, kernel)[1](jnp.ones_like(x)))


@pytest.fixture
def untried():
    """A process that has not tried its kernels yet."""
    for once in (trial._hindrance, trial._say):
        once.cache_clear()
    yield
    for once in (trial._hindrance, trial._say):
        once.cache_clear()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("kind", GROUPED)
def test_programs_for_accelerators_are_xla_s_own(platform, kind):
    text = step(*GROUPED[kind]).trace(X).lower(lowering_platforms=(platform,)).as_text()
    # One operation for each pass; the forward pass is not needed for the gradients.
    assert text.count("stablehlo.convolution") == 2
    assert "custom_call" not in text
    exported = jax.export.export(step(*GROUPED[kind]), platforms=(platform,))(X).mlir_module()
    assert exported.count("stablehlo.convolution") == 2
    assert "custom_call" not in exported


@pytest.mark.parametrize("kind", GROUPED)
def test_programs_for_the_cpu_call_kernels(kind):
    text = step(*GROUPED[kind]).lower(X).as_text()
    assert text.count("call_target_name") + text.count("custom_call @cnnjax") >= 2
    assert "stablehlo.convolution" not in text


def test_an_exported_program_holds_no_code_of_this_process():
    exported = jax.export.export(step(KERNEL), platforms=("cpu", "cuda"))(X)
    assert "custom_call" not in exported.mlir_module()
    (batch,) = jax.export.symbolic_shape("batch")
    some = jax.export.export(step(KERNEL))(jax.ShapeDtypeStruct((batch, *X.shape[1:]), X.dtype))
    for got, expected in zip(some.call(X), step(KERNEL)(X), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2, (3, 2)])
def test_without_a_kernel_a_convolution_with_one_tap_is_a_product_of_matrices(stride, monkeypatch):
    monkeypatch.setenv("CNNJAX_KERNELS", "off")
    f = jax.jit(lambda *at: jax.value_and_grad(lambda *at: (ops.conv(*at, stride=stride) ** 2).sum() / 2, (0, 1))(*at))
    text = f.lower(X, KERNEL[:1, :1]).as_text()
    assert text.count("stablehlo.dot_general") == 3
    assert "stablehlo.convolution" not in text
    rows, columns = (stride, stride) if isinstance(stride, int) else stride
    x, weights = np.asarray(X, np.float64), np.asarray(KERNEL[0, 0], np.float64)
    y, of_map = x[:, ::rows, ::columns] @ weights, np.zeros(x.shape)
    of_map[:, ::rows, ::columns] = y @ weights.T
    value, (x_back, kernel_back) = f(X, KERNEL[:1, :1])
    np.testing.assert_allclose(value, (y**2).sum() / 2, rtol=1e-5)
    np.testing.assert_allclose(x_back, of_map, atol=1e-4)
    np.testing.assert_allclose(kernel_back[0, 0], np.einsum("bijc,bijo->co", x[:, ::rows, ::columns], y), atol=1e-3)


@pytest.mark.parametrize("how", ["variable", "configure"])
def test_kernels_can_be_turned_off(how, monkeypatch):
    if how == "variable":
        monkeypatch.setenv("CNNJAX_KERNELS", "off")
    else:
        monkeypatch.setattr(jax.config, "update", lambda *_: None)
        runtime.configure(kernels=False)
    off = step(KERNEL)
    assert "stablehlo.convolution" in off.lower(X).as_text()
    monkeypatch.undo()
    for got, expected in zip(off(X), step(KERNEL)(X), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_a_variable_that_says_nothing_is_refused(monkeypatch):
    monkeypatch.setenv("CNNJAX_KERNELS", "yes")
    with pytest.raises(InputError, match=r"CNNJAX_KERNELS='yes' is unknown; use one of on, off, log"):
        step(KERNEL).lower(X)


def test_the_log_says_what_computes_each_pass(monkeypatch, capfd):
    monkeypatch.setenv("CNNJAX_KERNELS", "log")
    step(KERNEL).lower(X)
    monkeypatch.setattr(choice, "_LEAST_OPERATIONS", 1e9)
    step(KERNEL).lower(X)
    lines = capfd.readouterr().err.splitlines()
    assert sum(line.endswith(": kernel") for line in lines) == 2
    assert sum("XLA, only 96,768 operations" in line for line in lines) == 2


HINDRANCES = {
    "the package llvmlite.binding is missing": lambda patch: (
        patch.setitem(sys.modules, "llvmlite.binding", None),
        patch.delitem(sys.modules, "cnnjax.kernels.machine_code"),
        patch.delattr(kernels, "machine_code"),
    ),
    "it has no AVX2 and FMA": lambda patch: patch.setattr(
        machine_code, "processor", lambda: machine_code._vectors(("sse2",))
    ),
    "version 1.0": lambda patch: patch.setattr(
        frame, "header", lambda: frame.read_header("#define XLA_FFI_API_MAJOR 1\n#define XLA_FFI_API_MINOR 0")
    ),
    "another result than NumPy": lambda patch: patch.setattr(
        trial, "_example", lambda *geometry, **how: [(w, o, e + 1) for w, o, e in EXAMPLE(*geometry, **how)]
    ),
}
EXAMPLE = trial._example


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize("reason", HINDRANCES)
def test_what_hinders_kernels_is_said_once_and_xla_takes_over(reason, monkeypatch):
    HINDRANCES[reason](monkeypatch)
    with pytest.warns(RuntimeWarning, match=reason):
        text = step(KERNEL).lower(X).as_text()
    assert "stablehlo.convolution" in text
    with warnings.catch_warnings(action="error"):
        step(KERNEL).lower(X)


@pytest.mark.usefixtures("untried")
def test_threads_that_compile_at_once_try_kernels_once():
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        kernels = [KERNEL * k for k in range(8)]
        made = list(threads.map(lambda kernel: step(kernel)(X), kernels))
    for k, (got, _) in enumerate(made):
        np.testing.assert_allclose(got, k * made[1][0], atol=1e-3)


@pytest.mark.parametrize(
    ("size", "channels", "features", "window", "dtype", "chosen"),
    [
        # As measured, beside PyTorch and XLA: the forward pass, the gradient of the map, that of the weights.
        (32, 16, 16, 3, "float32", "kernel kernel kernel"),
        (32, 3, 16, 3, "bfloat16", "kernel kernel kernel"),
        (32, 16, 16, 3, "float64", "XLA XLA XLA"),
        (8, 256, 256, 3, "float32", "kernel kernel kernel"),
        (4, 512, 512, 3, "float32", "kernel kernel kernel"),
        (4, 1024, 1024, 3, "float32", "kernel kernel XLA"),
        (8, 256, 256, 1, "float32", "kernel kernel kernel"),
        (8, 512, 2048, 1, "float32", "XLA XLA XLA"),
        (4, 4, 4, 3, "float32", "XLA XLA XLA"),
    ],
)
def test_what_is_faster_is_chosen(size, channels, features, window, dtype, chosen, monkeypatch):
    monkeypatch.undo()
    around = (window // 2, window // 2)
    geometry = Geometry((size, size), channels, features, (window, window), (1, 1), (around, around), (1, 1))
    found = [
        choice.against_kernel(geometry, which, copies=1, maps=32, dtype=jnp.dtype(dtype))
        for which in ("forward", "input", "weights")
    ]
    assert ["XLA" if reason else "kernel" for reason in found] == chosen.split()


@pytest.mark.parametrize(("channels", "stride", "chosen"), [(3, 4, "XLA"), (3, 2, "kernel"), (8, 4, "kernel")])
def test_input_gradients_of_few_channels_at_wide_strides_are_xla_s(channels, stride, chosen):
    geometry = Geometry((224, 224), channels, 96, (11, 11), (stride, stride), ((2, 2), (2, 2)), (1, 1))
    reason = functools.partial(choice.against_kernel, geometry, copies=1, maps=8, dtype=jnp.dtype("float32"))
    assert reason("forward") is None
    assert ("kernel" if reason("input") is None else "XLA") == chosen
