"""What the process is told of its machine, in a fresh process where that matters."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import runtime


def in_fresh_process(code, **environment):
    import os

    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": "", **environment},
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_convolution_option_does_not_change_results():
    def gradient(x, k):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jax.grad(
            lambda k: (jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=dimensions) ** 2).sum()
        )(k)

    rng = np.random.default_rng(0)
    x, k = (rng.normal(size=size).astype(np.float32) for size in ((4, 9, 9, 8), (3, 3, 8, 8)))
    np.testing.assert_allclose(runtime.jit(gradient)(x, k), jax.jit(gradient)(x, k), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("shape", [(2, 3), (16, 64)])
def test_products_by_a_matrix_of_equal_numbers_are_right(shape):
    """XLA fused the matrix into the library's product, which took it for another (jaxlib 0.10.2 and 0.12.0)."""
    x = np.random.default_rng(0).normal(size=(16, shape[0])).astype(np.float32)
    made = runtime.jit(lambda s, x: x @ jnp.broadcast_to(s, shape))(np.float32(2), x)
    np.testing.assert_allclose(made, x @ np.full(shape, 2.0), rtol=1e-5, atol=1e-5)
    gradient = runtime.jit(jax.grad(lambda x: (x @ np.full(shape, 2.0, np.float32))[:, 0].sum()))(x)
    np.testing.assert_allclose(gradient, np.full_like(x, 2.0), rtol=1e-5)


def test_a_compiler_without_the_option_is_not_given_it(monkeypatch):
    monkeypatch.setattr(runtime, "_CPU_OPTIONS", {"xla_cpu_no_such_option": "1"})
    runtime.compiler_options.cache_clear()
    try:
        assert runtime.compiler_options() == {}
        assert runtime.jit(lambda x: x + 1)(np.float32(1)) == 2
    finally:
        runtime.compiler_options.cache_clear()


def test_jit_passes_options_on():
    add = runtime.jit(lambda x, n: x + n, static_argnums=1)
    assert add(np.float32(1), 2.0) == 3


def test_configure_keeps_compiled_programs_and_leaves_a_chosen_cache_alone(tmp_path):
    ours, chosen = tmp_path / "ours", tmp_path / "chosen"
    code = f"""
import jax
from cnnjax import runtime
for chosen in ({str(chosen)!r}, None):
    jax.config.update("jax_compilation_cache_dir", chosen)
    runtime.configure()
    print(jax.config.jax_compilation_cache_dir)
jax.jit(lambda x: x * 2)(1.0)
"""
    assert in_fresh_process(code, CNNJAX_CACHE=str(ours)).split() == [str(chosen), str(ours / "compiled")]
    assert any((ours / "compiled").iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator setting is glibc's")
def test_freed_memory_is_kept():
    code = """
import resource
import numpy as np
from cnnjax import runtime
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(8_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for prepare in (lambda: None, runtime.configure):
    prepare()
    faults()
    print(faults())
"""
    # Without the setting every one of the 20 arrays of 64 MB is faulted in anew, in pages of 4 KiB or in huge ones.
    without, kept = map(int, in_fresh_process(code).split())
    assert kept < without / 4


def test_the_library_and_training_need_no_optional_package():
    code = """
import sys
for missing in ("tensorflow_datasets", "sklearn", "matplotlib", "orbax", "pandas", "tyro", "platformdirs"):
    sys.modules[missing] = None
import numpy as np
import cnnjax
from cnnjax import analysis, data, layers, models, ops, patches, runs, runtime, stats, training
from cnnjax.data import Augmentation, apply_augmentation
runtime.configure()
model = models.AllConv(num_classes=2, widths=(4,), depth=1, head_width=4)
spec = training.StepSpec(model, "sgd", 4, apply_augmentation)
images, labels = np.zeros((8, 8, 8, 1), np.uint8), np.zeros(8, np.int32)
config = training.TrainConfig(epochs=1, batch_size=4)
variables = training.train(spec, config, images, labels, Augmentation().as_arrays(), seeds=[0])
print(sorted(variables))
for name in ("digits", "mnist"):
    try:
        data.load(data.DataConfig(name=name))
    except cnnjax.InputError as error:
        print(error)
"""
    output = in_fresh_process(code)
    assert output.splitlines()[0] == "['batch_stats', 'params']"
    assert "scikit-learn" in output
    assert "tensorflow-datasets" in output


def test_import_is_quick_in_what_it_imports():
    heavy = ("tensorflow_datasets", "sklearn", "matplotlib", "orbax", "pandas", "tyro", "torch", "scipy.stats")
    code = f"import cnnjax, sys; print([name for name in {heavy!r} if name in sys.modules])"
    assert in_fresh_process(code).strip() == "[]"
