"""Every program of the library is one for a GPU and a TPU too: each is lowered for both, on a machine with neither.

Whatever is compiled while a function works is lowered for these platforms too, so functions that are many programs are
held to it as well, and so is what they choose on an accelerator. Nothing that only a CPU has may be in a program:
kernels of `cnnjax.kernels`, or Python of the host.
"""

import contextlib
import dataclasses
import functools
import inspect
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.interpreters import mlir

from cnnjax import analysis, ops, runtime, training
from cnnjax.kernels import choice, trial
from experiments.benchmarks.wrong_arguments.analysis_calls import IMAGES
from experiments.benchmarks.wrong_arguments.calls import CALLS
from experiments.benchmarks.wrong_arguments.matrix import public_functions
from tests.repeats import repeated

PLATFORMS = ("cuda", "tpu")
FUNCTIONS = public_functions()
ROOMS = ("ops", "data", "layers", "models", "training", "analysis", "patches", "jigsaw")
"""Whose functions compute with arrays."""
ON_THE_HOST = {
    *("ops.output_size", "ops.resolve_padding", "training.check_steps", "training.make_optimizer"),
    *("training.TrainConfig", "training.choose_placement", "training.networks_at_once", "training.read_arrays"),
    *("data.Augmentation", "data.DataConfig", "data.load_image", "data.shapes.area", "training.save_tree"),
    *("data.blocks", "data.streamed_batches", "training.with_recipe"),
    *("jigsaw.best_buddies", "jigsaw.diagnose", "jigsaw.frames", "jigsaw.in_lab", "jigsaw.right_best_neighbors"),
    *("jigsaw.right_cells", "jigsaw.score", "jigsaw.true_arrangement", "models.tower_shardings"),
    *("analysis.by_name", "analysis.class_selectivity", "analysis.image_columns", "analysis.pointing_game"),
    *("analysis.scores", "analysis.strength", "analysis.quarter_turns", "analysis.rotations", "analysis.shifts"),
    *("analysis.subpixel_shifts", "analysis.Flip", "analysis.Generator", "analysis.Rotation", "analysis.Scale"),
    *("analysis.Shift", "analysis.OwnTransform", "analysis.orbit_of"),
    # These read programs, and run none.
    *("analysis.check_shift_terms", "analysis.cost", "analysis.is_linear", "analysis.receptive_field"),
    "analysis.rectifiers",
    # These read or write a file of another's; what they make of it is a network, or `models.from_torch`.
    *("models.from_exported", "models.load_weights", "models.save_weights"),
    "models.from_nnx",
}
"""What compiles nothing: NumPy, files, descriptions."""
CALLED = {
    "analysis.intervene": lambda f: jax.jit(f)(IMAGES),
    "analysis.token_maps": lambda f: jax.jit(f)(IMAGES),
    "analysis.with_pool_rule": lambda _: jax.jit(jax.grad(_overlapping_pool))(IMAGES),
    "analysis.with_relu_rule": lambda f: jax.jit(jax.grad(lambda images: f(images)[0].sum()))(IMAGES),
    "analysis.Projector": lambda project: project(IMAGES[0], 0),
    "models.bind": lambda f: f(jnp.ones((2, 8, 8, 1))),
    "models.from_torch": lambda made: made[0](made[1], jnp.ones((2, 8, 8, 1))),
}
"""What becomes of those that return a function."""


def _overlapping_pool(images):
    # The network of the small calls has no pool.
    return analysis.with_pool_rule(lambda x: ops.max_pool(x, 3, stride=2), overlap="max")(images).sum()


@pytest.fixture(scope="module", autouse=True)
def _kernels_have_been_tried():
    """A process tries its kernels once, by programs for the CPU that are no part of any other."""
    assert trial.ready(1)
    assert trial.ready(2)


@contextlib.contextmanager
def lowered_for_accelerators():
    """The programs that are compiled meanwhile: of each its text for each platform."""
    real, found = mlir.lower_jaxpr_to_module, []

    def lower(*arguments, **options):
        for platform in PLATFORMS:
            found.append(str(real(*arguments, **{**options, "platforms": (platform,), "backend": None}).module))
        return real(*arguments, **options)

    jax.clear_caches()  # what was compiled before would not be lowered again
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlir, "lower_jaxpr_to_module", lower)
        patch.setattr(runtime, "on_cpu", lambda: False)
        patch.setattr(choice, "_LEAST_OPERATIONS", 0)
        yield found


def of_the_host(programs):
    """The names of what programs call that no accelerator has."""
    calls = [re.findall(r'custom_call @([\w.$]+)|call_target_name = "([^"]+)"', text) for text in programs]
    names = {name for found in calls for pair in found for name in pair}
    return {name for name in names if name.startswith("cnnjax") or "callback" in name}


QUICK = ["analysis.lie_derivative", "analysis.project", "analysis.occlusion", "jigsaw.solve", "patches.nearest_patches"]
NAMES = [*QUICK, *(name for name in CALLS if name not in QUICK and name.split(".")[0] in ROOMS)]
MODULES = {name: f for name, f in FUNCTIONS.items() if isinstance(f, type) and issubclass(f, nn.Module)}


@pytest.mark.parametrize("name", repeated([n for n in NAMES if n not in ON_THE_HOST | {*MODULES}], quick=len(QUICK)))
def test_what_a_function_compiles_is_for_accelerators_too(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "models.from_torch":
        pytest.importorskip("torch")
    if name == "models.two_devices":
        pytest.skip("tests/models/test_towers.py lowers it")
    arguments = CALLS[name]()
    with lowered_for_accelerators() as programs:
        made = FUNCTIONS[name](**arguments)
        if name in CALLED:
            CALLED[name](made)
    assert programs
    assert of_the_host(programs) == set()


@pytest.mark.parametrize("name", repeated([n for n in CALLS if n in MODULES], quick=0))
def test_every_layer_and_network_is_for_accelerators_too(name):
    module = MODULES[name](**CALLS[name]())
    shape = (2, 16, 16, 1) if name.startswith("models.") else (2, 8, 8, 4)
    if name in ("layers.GroupConv", "layers.GroupMapPool"):
        shape = (2, 8, 8, 4, 2)
    x, key = jnp.ones(shape), jax.random.key(0)
    takes_train = "train" in inspect.signature(type(module).__call__).parameters
    modes = [dict(train=train) for train in (False, True)] if takes_train else [{}]
    variables = jax.eval_shape(lambda: module.init({"params": key, "dropout": key}, x, **modes[0]))

    def total(params, rest, x):
        made = [
            module.apply({**params, **rest}, x, rngs={"dropout": key}, mutable=list(rest), **mode) for mode in modes
        ]
        return sum(leaf.sum() for leaf in jax.tree.leaves(made) if jnp.issubdtype(leaf.dtype, jnp.floating))

    parts = [{name: tree for name, tree in variables.items() if (name == "params") == kept} for kept in (True, False)]
    gradient = jax.jit(jax.value_and_grad(total, (0, 2))).trace(*parts, x)
    programs = [gradient.lower(lowering_platforms=(platform,)).as_text() for platform in PLATFORMS]
    assert of_the_host(programs) == set()


WAYS = {
    "several networks in a program": dict(together=True),
    "each batch on two devices": dict(together=True, devices=2, networks=1),
    "a program for each network": dict(together=False),
    "networks on two devices": dict(devices=2, networks=2),
}


@pytest.mark.parametrize("way", repeated(WAYS, quick=2))
def test_a_chunk_of_training_is_for_accelerators_too(way):
    options = dict(WAYS[way])
    devices, networks = options.pop("devices", None), options.pop("networks", 2)
    arguments = CALLS["training.run_steps"]()
    spec, epoch = arguments["spec"], arguments["epoch"]
    states = training.init_states(spec, range(networks), epoch.images.shape[1:])
    epoch = dataclasses.replace(epoch, order=jnp.broadcast_to(jnp.arange(4), (networks, 4)))
    keys = jax.random.split(jax.random.key(0), networks)
    if devices is not None:
        if jax.device_count() < devices:
            pytest.skip("needs two devices")
        config = training.TrainConfig(batch_size=spec.batch_size, devices=devices)
        spec = dataclasses.replace(spec, placement=training.choose_placement(config, networks))
        assert spec.placement.over == ("batch" if networks == 1 else "networks")
    with lowered_for_accelerators() as programs:
        training.run_steps(spec, states, 2, keys, epoch, arguments["settings"], **options)
    assert any("stablehlo.convolution" in text for text in programs)
    assert of_the_host(programs) == set()


def test_every_name_that_compiles_nothing_is_one():
    assert set(FUNCTIONS) >= ON_THE_HOST
    assert set(CALLED) <= set(NAMES) - ON_THE_HOST


def test_what_only_a_cpu_has_is_found():
    def kernel(x):
        return jax.ffi.ffi_call("cnnjax_kernel", jax.ShapeDtypeStruct(x.shape, x.dtype))(x)

    def python(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    x = jnp.ones(2)
    assert of_the_host([jax.jit(kernel).trace(x).lower(lowering_platforms=("cuda",)).as_text()]) == {"cnnjax_kernel"}
    with pytest.raises(ValueError, match="platform"):
        jax.jit(python).trace(x).lower(lowering_platforms=("cuda",))
    # Where a program is compiled for the CPU its kernels are seen, so the others have none because they need none.
    conv = functools.partial(jax.jit(ops.conv).lower, jnp.ones((2, 32, 32, 16)), jnp.ones((3, 3, 16, 16)))
    assert of_the_host([conv().as_text()])
