"""Workers that are forked, spawned or Ray's, and processes that are killed or interrupted."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from own_process import environment, run

from tests.repeats import repeated

CONVOLUTION = """
    import json, os, signal, sys
    import jax, jax.numpy as jnp
    from cnnjax import ops
    from cnnjax.kernels import choice, machine_code
    choice._LEAST_OPERATIONS = 0
    x, kernel = jnp.ones((2, 8, 8, 8)), jnp.ones((3, 3, 8, 8))
"""

FORKED = CONVOLUTION + """
    import warnings
    f = jax.jit(lambda x, kernel: ops.conv(x, kernel))
    own = "cnnjax_conv" in f.lower(x, kernel).as_text()
    f(x, kernel)
    read, write = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # JAX warns of any fork
        child = os.fork()
    if not child:
        # Threads of XLA do not exist here, so a program is only written, not run.
        os.write(write, jax.jit(lambda x, kernel: 2 * ops.conv(x, kernel)).lower(x, kernel).as_text().encode())
        os._exit(0)
    os.close(write)
    text = b"".join(iter(lambda: os.read(read, 1 << 16), b"")).decode()
    status = os.waitpid(child, 0)[1]
    print(json.dumps([own, status, "cnnjax_conv" in text, "stablehlo.convolution" in text]))
"""  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_programs_of_a_forked_process_are_xla_s():
    assert run(FORKED) == [True, 0, False, True]


WORKER = """
    import sys

    def work(size):
        import jax, jax.numpy as jnp
        from cnnjax import ops
        from cnnjax.kernels import choice
        choice._LEAST_OPERATIONS = 0
        f = jax.jit(jax.grad(lambda x, kernel: jnp.sum(ops.conv(x, kernel, padding="valid"))))
        x, kernel = jnp.ones((2, size, size, 8)), jnp.ones((3, 3, 8, 8))
        return "cnnjax_conv" in f.lower(x, kernel).as_text(), float(f(x, kernel).sum())
"""
SPAWNED = WORKER + """
    if __name__ == "__main__":
        import concurrent.futures, json, multiprocessing
        assert work(5)
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, spawn) as pool:
            print(json.dumps(list(pool.map(work, (5, 6)))))
"""  # fmt: skip
BY_RAY = WORKER + """
    import json, logging
    import ray
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    print(json.dumps(ray.get([ray.remote(work).remote(size) for size in (5, 6)])))
"""  # fmt: skip
# Each number of a result is brought back to the 9 places that its window read, in 8 channels, from 8 features.
WORKED = [[True, 2 * n * n * 9 * 8.0 * 8] for n in (3, 4)]


def test_spawned_workers_have_kernels(tmp_path):
    # A worker imports the script, so it is a file.
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SPAWNED))
    assert run(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')") == WORKED


def test_workers_of_ray_have_kernels():
    pytest.importorskip("ray")
    assert run(BY_RAY) == WORKED


KILLED = CONVOLUTION + """
    from pathlib import Path

    def half_written(descriptor):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    if sys.argv[1:] == ["in the middle"]:
        os.fsync = half_written
    if sys.argv[1:] == ["before it has its name"]:
        Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
    compiled, compile = [], machine_code.compiled
    machine_code.compiled = lambda text: compiled.append(1) or compile(text)
    y = jax.jit(lambda x, kernel: ops.conv(x, kernel))(x, kernel)
    print(json.dumps([len(compiled), float(y[0, 4, 4, 0])]))
"""  # fmt: skip


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system does not kill so")
@pytest.mark.parametrize("moment", repeated(["in the middle", "before it has its name"]))
def test_a_process_killed_while_code_is_written_leaves_nothing_broken(moment, tmp_path):
    cache = dict(CNNJAX_CACHE=str(tmp_path))
    script = [sys.executable, "-c", textwrap.dedent(KILLED), moment]
    killed = subprocess.run(script, env=environment(**cache), capture_output=True, timeout=280)
    assert killed.returncode == -signal.SIGKILL
    (partial,) = (tmp_path / "kernels").iterdir()
    assert partial.name.endswith(".tmp")
    # Three passes and two by tiles to try kernels, and one of the convolution: none was kept, and then all are.
    assert run(KILLED, **cache) == [6, 72.0]
    assert run(KILLED, **cache) == [0, 72.0]


INTERRUPTED = CONVOLUTION + """
    @jax.jit
    def long(x):
        body = lambda x, _: (jnp.tanh(ops.conv(x, kernel)), None)
        return jax.lax.scan(body, x, None, length=200)[0]

    long(x).block_until_ready()
    try:
        print("started", flush=True)
        while True:
            x = long(x).block_until_ready()
    except KeyboardInterrupt:
        # Kernels still work: no job of theirs was left half done.
        print(float(jnp.sum(ops.conv(jnp.ones_like(x), kernel)) > 0), flush=True)
"""  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise")
def test_an_interrupt_ends_a_computation_and_leaves_kernels_working():
    script = [sys.executable, "-c", textwrap.dedent(INTERRUPTED)]
    with subprocess.Popen(script, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one:
        assert one.stdout.readline() == "started\n"
        one.send_signal(signal.SIGINT)
        out, err = one.communicate(timeout=120)
    assert (one.returncode, out) == (0, "1.0\n"), err[-2000:]
