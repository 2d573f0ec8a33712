"""What takes a process of its own: threads, caches on disk, and reading beyond the end of an array."""

import sys

import pytest
from own_process import run

from tests.repeats import repeated

MANY = """
    import concurrent.futures, hashlib, json, sys
    import jax, jax.numpy as jnp, numpy as np
    from cnnjax import layers, ops
    from cnnjax.kernels import choice
    choice._LEAST_OPERATIONS = choice._LEAST_NUMBERS = 0
    drawn = lambda *shape: jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape), jnp.float32)
    # 82,944 numbers in a map: two chunks.
    x, kernels = drawn(72, 12, 12, 8), drawn(6, 3, 3, 8, 8)

    def normalised(x):
        variables = {"params": {"batch": {"scale": jnp.ones(8), "bias": jnp.ones(8)}}}
        return layers.Norm("batch").apply(variables, x, train=True, mutable=["batch_stats"])[0]

    def loss(kernels, x):
        # Convolutions that do not wait for each other, and a Fourier transform on the same threads.
        maps = [jnp.tanh(normalised(ops.conv(x, kernel))) for kernel in kernels]
        return sum(map(jnp.sum, maps)) + jnp.sum(jnp.abs(jnp.fft.rfft2(x, axes=(1, 2))))

    step = jax.jit(jax.grad(loss, (0, 1)))
    text = step.lower(kernels, x).as_text()
    assert all(name in text for name in ("cnnjax_conv4", "cnnjax_channels1"))
    digest = lambda made: hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in made)).hexdigest()
    found = {digest(step(kernels, x)) for _ in range(int(sys.argv[1]))}
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found |= set(threads.map(lambda _: digest(step(kernels, x)), range(40)))
    print(json.dumps(sorted(found)))
"""


@pytest.mark.parametrize("times", repeated([{1: 20, 4: 100}, {1: 100, 2: 1000, 4: 100}]))
def test_bits_do_not_depend_on_threads_nor_on_who_calls(times):
    first, *others = [run(MANY, str(count), NPROC=str(threads)) for threads, count in times.items()]
    assert all(found == first for found in others)
    assert len(first) == 1


TILED = """
    import hashlib, json, os
    import jax, jax.numpy as jnp, numpy as np
    os.cpu_count = lambda: 4  # as many workers as there are threads at most
    from cnnjax.kernels import Geometry
    from cnnjax.kernels.calls import call
    geometry = Geometry((12, 13), 16, 40, (3, 3), (1, 1), ((1, 1), (1, 2)), (1, 1))
    drawn = lambda *shape: jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape), jnp.float32)
    x, kernel = drawn(48, *geometry.maps), drawn(3, *geometry.kernel)

    @jax.jit
    def both(x, kernels):
        # Kernels that do not wait for each other.
        how = {"geometry": geometry, "mapped": (False, False), "tiled": True}
        made = [call(x, kernel, which="forward", **how) for kernel in kernels]
        back = [call(y, kernel, which="input", **how) for y, kernel in zip(made, kernels)]
        return made + back + [call(x, y, which="weights", **how) for y in made]

    digest = lambda made: hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in made)).hexdigest()
    print(json.dumps(sorted({digest(both(x, kernel)) for _ in range(100)})))
"""


@pytest.mark.parametrize("counts", repeated([((1, 4),), ((1, 2, 4),)]))
def test_bits_of_tiles_do_not_depend_on_threads(counts):
    first, *others = [run(TILED, NPROC=str(threads)) for threads in counts]
    assert all(found == first for found in others)
    assert len(first) == 1


CACHED = """
    import json, sys
    import jax, jax.numpy as jnp
    from cnnjax import ops, runtime
    from cnnjax.kernels import choice, machine_code
    choice._LEAST_OPERATIONS = 0
    runtime.configure()
    events, compiled, compile = [], [], machine_code.compiled
    machine_code.compiled = lambda text: compiled.append(1) or compile(text)
    jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
    step = jax.jit(jax.grad(lambda x, k: jnp.sum(jnp.sin(ops.conv(x, k))), (0, 1)))
    made = step(jnp.ones((4, 8, 8, 8)), jnp.ones((3, 3, 8, 8)))
    count = lambda what: sum(event.endswith(what) for event in events)
    print(json.dumps([len(compiled), count("cache_hits"), count("cache_misses"), float(made[1].sum())]))
"""


def test_a_second_process_compiles_neither_programs_nor_kernels(tmp_path):
    first, second = (run(CACHED, CNNJAX_CACHE=str(tmp_path)) for _ in range(2))
    assert first[0] == 8  # three passes, and three to try them and two by tiles
    assert first[2] > 0
    assert second[:3] == [0, first[2], 0]
    assert second[3] == first[3]


GUARDED = """
    import ctypes, json, math, mmap
    import numpy as np
    from cnnjax.kernels import Geometry, channel_calls, machine_code, targets
    libc = ctypes.CDLL(None)
    pointer, size_t, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long
    libc.mmap.restype, libc.mmap.argtypes = pointer, [pointer, size_t, *[ctypes.c_int] * 3, number]
    libc.mprotect.argtypes = [pointer, size_t, ctypes.c_int]

    def guarded(count, at_end):
        # An array with a page on either side that ends the process when it is touched.
        page, size = mmap.PAGESIZE, 4 * count
        whole = -(-size // page) * page
        start = libc.mmap(None, whole + 2 * page, 3, 0x22, -1, 0)
        for edge in (start, start + page + whole):
            assert libc.mprotect(edge, page, 0) == 0
        address = start + page + (whole - size if at_end else 0)
        np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))[:] = 1
        return address

    geometries = [
        Geometry((5, 7), 3, 5, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
        Geometry((6, 5), 18, 20, (3, 2), (2, 1), ((2, 1), (0, 3)), (1, 2)),
        Geometry((5, 6), 19, 19, (3, 3), (1, 2), ((1, 1), (2, 2)), (1, 1), 19),
        Geometry((6, 6), 8, 12, (3, 3), (1, 1), ((-1, 1), (1, 1)), (1, 1), 4),
    ]
    ran = 0
    passes = [(geometry, which, False) for geometry in geometries for which in ("forward", "input", "weights")]
    for geometry in (
        Geometry((5, 7), 3, 5, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
        Geometry((6, 4), 18, 20, (3, 3), (1, 1), ((4, 0), (-1, 2)), (1, 1)),
    ):
        passes += [(geometry, which, True) for which in ("forward", "input", "weights")]
    for geometry, which, tiled in passes:
        processor = machine_code.processor()
        plan = targets.planned(geometry, which, processor, tiled=tiled)
        code = machine_code.compiled(targets.source(geometry, which, processor, "kernel", tiled=tiled))
        kind = ctypes.CFUNCTYPE(None, *[pointer] * 3, number, number, *[pointer] * tiled)
        body = kind(machine_code.loaded(code, "kernel_body"))
        many = [2, 2 if which == "weights" else 1, 1 if which == "weights" else 2]
        for at_end in (False, True):
            sizes = (plan.in_size, plan.w_size, plan.out_size)
            scratch = [guarded(plan.scratch, at_end)] * tiled
            arrays = [guarded(n * size, at_end) for n, size in zip(many, sizes)]
            if tiled and at_end:  # so that a tile is computed again
                ctypes.c_float.from_address(arrays[0]).value = math.inf
            body(*arrays, 0, 2 * plan.tiles, *scratch)
            ran += 1
    for channels in (3, 16, 37):
        for which, operands in (("sums", 3), ("moments", 2)):
            processor = machine_code.processor()
            code = machine_code.compiled(channel_calls.source(which, channels, processor, "kernel"))
            kind = ctypes.CFUNCTYPE(None, *[pointer] * (operands + 1), number, number)
            body = kind(machine_code.loaded(code, "kernel_body"))
            kind = ctypes.CFUNCTYPE(None, *[pointer] * 3, number, number)
            finish = kind(machine_code.loaded(code, "kernel_body_finish"))
            for at_end in (False, True):
                a, b = (guarded(300 * channels, at_end) for _ in range(2))
                made, out = guarded(4 * channels, at_end), guarded(2 * channels, at_end)
                body(a, b, made, *[guarded(channels, at_end)][: operands - 2], 0, 300)
                finish(a, made, out, 1, 300)
                ran += 1
    print(json.dumps(ran))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pages are guarded in Linux's way")
def test_nothing_is_read_or_written_outside_of_the_arrays():
    assert run(GUARDED) == (4 * 3 + 2 * 3) * 2 + 3 * 2 * 2


FAR = """
    import ctypes, json
    import jax.numpy as jnp, numpy as np
    from cnnjax import ops
    from cnnjax.kernels import machine_code

    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 5]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    page, private = 4096, 0x4022  # anonymous, and no memory behind it
    taken = lambda size: libc.mmap(None, size, 0, private, 2**64 - 1, 0)

    def sums():
        return np.asarray(ops.conv(jnp.ones((8, 18, 18, 16)), jnp.ones((3, 3, 16, 16)), padding="same")).sum()

    # Memory is taken but for a page near the top: what is loaded, in pieces, finds place there and far below.
    before = machine_code.loaded
    where = []

    def between(code, function):
        top = libc.mmap(None, page, 0, private, 2**64 - 1, 0)
        for size in (2**30, 2**26, 2**22, 2**18, 2**14, 2**12):
            while top - 2**34 < (address := taken(size)) < 2**63:  # above: there was no memory
                pass
            libc.munmap(address, size)
        libc.munmap(top, page)
        address = before(code, function)
        where.append(top - address)
        return address

    machine_code.loaded = between
    print(json.dumps([float(sums()), max(where) > 2**32]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is filled in Linux's way")
def test_code_runs_where_its_parts_lie_far_from_each_other(tmp_path):
    # 18 · 18 windows of 9 taps, fewer by a third along each border.
    assert run(FAR, CNNJAX_CACHE=str(tmp_path)) == [8 * 16 * 16 * (3 * 18 - 2) ** 2, True]
