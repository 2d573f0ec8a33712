"""Programs that XLA, or `shard_map`, shares out to several devices: kernels on each, and what the devices exchange."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from cnnjax import ops
from cnnjax.kernels import shares, trial
from tests.repeats import repeated

SPLIT = PartitionSpec


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(shape).normal(size=shape), jnp.float32)


X, KERNEL, DEPTHWISE = drawn(8, 6, 7, 8), drawn(3, 3, 8, 8), drawn(3, 3, 1, 8)
XS, KERNELS = drawn(4, 8, 6, 7, 8), drawn(4, 3, 3, 8, 8)


def by_lax(x, kernel):
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


def ours(x, kernel):
    return ops.conv(x, kernel, groups=x.shape[-1] // kernel.shape[2])


def all_passes(conv):
    """The convolution and both its gradients."""
    gradients = jax.grad(lambda x, kernel: jnp.sum(jnp.sin(conv(x, kernel)).astype(jnp.float32)), (0, 1))
    return lambda x, kernel: (conv(x, kernel), *gradients(x, kernel))


def mesh(*sizes, kind=AxisType.Auto):
    if jax.device_count() < 4:
        pytest.skip("needs four devices")
    return jax.make_mesh(sizes, ("data", "model")[: len(sizes)], axis_types=(kind,) * len(sizes))


def shared_out(f, devices, operands, splits):
    """The results of f for operands that are split so, and the compiled program."""
    placed = [jax.device_put(x, NamedSharding(devices, split)) for x, split in zip(operands, splits, strict=True)]
    compiled = jax.jit(f).lower(*placed).compile()
    return compiled(*placed), compiled.as_text()


def assert_same(actual, expected, scale=1e-5):
    for got, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (got.shape, got.dtype) == (right.shape, right.dtype)
        np.testing.assert_allclose(
            np.asarray(got, np.float32), np.asarray(right, np.float32), atol=scale * float(jnp.abs(right).max())
        )


def exchanged(text):
    return sorted(re.findall(r"= \S.* (all-gather|all-reduce|all-to-all|collective-permute)(?:-start)?\(", text))


def calls(text):
    """The passes that kernels compute and, for each, the size of their result on one device."""
    found = re.findall(r"= \(?f32\[([\d,]+)\].* custom-call\(.*cnnjax_conv\d+_([a-z]+)_", text)
    return {which: tuple(map(int, shape.split(","))) for shape, which in found}


def over_copies(conv, axes):
    return all_passes(conv) if axes is None else jax.vmap(all_passes(conv), axes)


# operands, the axes that are mapped over, how they are split, and what then has to be exchanged
BATCHES = {
    "a batch over both axes": ((X, KERNEL), None, (2, 2), (SPLIT(("model", "data")), SPLIT()), 1),
    "narrow numbers": ((X.astype(jnp.bfloat16), KERNEL.astype(jnp.bfloat16)), None, (4,), (SPLIT("data"), SPLIT()), 1),
    "copies and a batch": ((XS, KERNELS), (0, 0), (2, 2), (SPLIT("data", "model"), SPLIT("data")), 1),
    "a batch": ((X, KERNEL), None, (4,), (SPLIT("data"), SPLIT()), 1),
    "a batch over one axis of two": ((X, KERNEL), None, (2, 2), (SPLIT("data"), SPLIT()), 1),
    "depthwise": ((X, DEPTHWISE), None, (4,), (SPLIT("data"), SPLIT()), 1),
    "copies of both": ((XS, KERNELS), (0, 0), (4,), (SPLIT("data"), SPLIT("data")), 0),
    "copies of kernels": ((X, KERNELS), (None, 0), (4,), (SPLIT(), SPLIT("data")), 0),
    "a batch of all copies": ((XS, KERNELS), (0, 0), (4,), (SPLIT(None, "data"), SPLIT()), 1),
    "a batch for copies of kernels": ((X, KERNELS), (None, 0), (4,), (SPLIT("data"), SPLIT()), 1),
}


@pytest.mark.parametrize("name", repeated(BATCHES, quick=3))
def test_a_batch_is_not_gathered_and_each_device_has_kernels_for_its_part(name):
    operands, axes, devices, splits, sums = BATCHES[name]
    got, text = shared_out(over_copies(ours, axes), mesh(*devices), operands, splits)
    # Only the sum for the gradient of the weights is exchanged, and nothing but kernels computes a pass.
    assert exchanged(text) == ["all-reduce"] * sums
    assert "convolution(" not in text
    assert set(calls(text)) == {"forward", "input", "weights"}
    assert_same(got, jax.jit(over_copies(by_lax, axes))(*operands), 1e-2 if X.dtype != operands[0].dtype else 1e-5)


def test_each_device_computes_its_maps_only():
    _, text = shared_out(all_passes(ours), mesh(4), (X, KERNEL), (SPLIT("data"), SPLIT()))
    # One share of two maps in one copy.
    assert calls(text)["forward"] == calls(text)["input"] == (1, 1, 2, 6, 7, 8)
    assert calls(text)["weights"] == (1, 1, 3, 3, 8, 8)


def test_results_stay_split():
    got, _ = shared_out(all_passes(ours), mesh(4), (X, KERNEL), (SPLIT("data"), SPLIT()))
    y, dx, dkernel = (made.sharding for made in got)
    assert y.spec == dx.spec == SPLIT("data")
    assert dkernel.is_fully_replicated


ELSEWHERE = {
    "channels": (SPLIT(None, None, None, "data"), SPLIT()),
    "a batch and features": (SPLIT("data"), SPLIT(None, None, None, "model")),
    "rows": (SPLIT(None, "model"), SPLIT()),
    "features": (SPLIT(), SPLIT(None, None, None, "data")),
    "channels of the kernel": (SPLIT(), SPLIT(None, None, "data")),
    "a batch and its rows": (SPLIT("data", "model"), SPLIT()),
    "nothing": (SPLIT(), SPLIT()),
}


@pytest.mark.parametrize("name", repeated(ELSEWHERE, quick=2))
def test_arrays_that_are_split_along_other_axes_give_the_same_numbers(name):
    got, _ = shared_out(all_passes(ours), mesh(2, 2), (X, KERNEL), ELSEWHERE[name])
    assert_same(got, jax.jit(all_passes(by_lax))(X, KERNEL))


def test_a_batch_that_devices_cannot_share_evenly_is_xla_s():
    got, text = shared_out(all_passes(ours), mesh(4), (X[:6], KERNEL), (SPLIT(), SPLIT()))
    assert not calls(text)
    assert_same(got, jax.jit(all_passes(by_lax))(X[:6], KERNEL))


def test_a_batch_without_maps_is_shared_by_all():
    got, _ = shared_out(all_passes(ours), mesh(4), (X[:0], KERNEL), (SPLIT("data"), SPLIT()))
    assert got[0].shape == got[1].shape == X[:0].shape
    np.testing.assert_array_equal(got[2], np.zeros_like(KERNEL))


def scanned(conv):
    # Divided, as 72 weights of variance 1 enlarge what was rounded before eight times in each round.
    return lambda x, kernel: lax.scan(lambda s, _: (jnp.tanh(conv(s, kernel / 8)), None), x, None, 3)[0]


@pytest.mark.parametrize("transform", repeated([scanned, jax.checkpoint, jax.jit]))
def test_nothing_is_gathered_within_loops_and_other_functions(transform):
    got, text = shared_out(all_passes(transform(ours)), mesh(4), (X, KERNEL), (SPLIT("data"), SPLIT()))
    assert set(exchanged(text)) == {"all-reduce"}
    assert set(calls(text)) == {"forward", "input", "weights"}
    assert_same(got, jax.jit(all_passes(transform(by_lax)))(X, KERNEL))


def test_a_mesh_whose_axes_are_explicit():
    devices = mesh(4, kind=AxisType.Explicit)
    with jax.set_mesh(devices):
        got, text = shared_out(all_passes(ours), devices, (X, KERNEL), (SPLIT("data"), SPLIT()))
    assert exchanged(text) == ["all-reduce"]
    assert set(calls(text)) == {"forward", "input", "weights"}
    assert_same(jax.device_get(got), jax.jit(all_passes(by_lax))(X, KERNEL))


def test_the_older_partitioner_gathers_nothing_either():
    before = jax.config.jax_use_shardy_partitioner
    try:
        jax.config.update("jax_use_shardy_partitioner", False)
        got, text = shared_out(all_passes(ours), mesh(4), (X, KERNEL), (SPLIT("data"), SPLIT()))
    finally:
        jax.config.update("jax_use_shardy_partitioner", before)
    assert exchanged(text) == ["all-reduce"]
    assert_same(got, jax.jit(all_passes(by_lax))(X, KERNEL))


def test_within_shard_map_each_device_has_its_own_kernels():
    devices = mesh(4)

    def sharded(conv):
        split = jax.shard_map(conv, mesh=devices, in_specs=(SPLIT("data"), SPLIT()), out_specs=SPLIT("data"))
        # The gradient of what every device holds alike is added up over the devices.
        own = jax.shard_map(
            all_passes(conv),
            mesh=devices,
            in_specs=(SPLIT("data"), SPLIT()),
            out_specs=(SPLIT("data"), SPLIT("data"), SPLIT()),
        )
        return jax.jit(lambda x, kernel: (all_passes(split)(x, kernel), own(x, kernel)))

    assert "cnnjax_conv" in sharded(ours).lower(X, KERNEL).as_text()
    assert_same(sharded(ours)(X, KERNEL), sharded(by_lax)(X, KERNEL))


def test_shard_map_over_one_axis_leaves_the_other_to_xla():
    devices = mesh(2, 2)

    def over_model(conv):
        return jax.shard_map(
            conv, mesh=devices, in_specs=(SPLIT("model"), SPLIT()), out_specs=SPLIT("model"), axis_names={"model"}
        )

    splits = SPLIT(("model", "data")), SPLIT()
    got, text = shared_out(all_passes(over_model(ours)), devices, (X, KERNEL), splits)
    assert set(exchanged(text)) <= {"all-reduce"}
    assert calls(text)["forward"] == (1, 1, 2, 6, 7, 8)
    assert_same(got, jax.jit(all_passes(by_lax))(X, KERNEL))


@pytest.fixture
def untried(monkeypatch):
    """A process that has not shared a call out yet, and forgets it after the test."""
    for once in (trial._say, trial._hindrance_to_sharing):
        monkeypatch.setattr(trial, once.__name__, functools.cache(once.__wrapped__))


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize("lacks", ["the function", "the attribute"])
def test_a_version_of_jax_without_the_means_leaves_shared_programs_to_xla(lacks, monkeypatch):
    if lacks == "the function":
        monkeypatch.delattr(jax.ffi, "register_ffi_target_as_batch_partitionable")
    else:
        monkeypatch.setattr(shares, "_rule", lambda *_: "#sdy.another_rule<>")
    with pytest.warns(RuntimeWarning, match="this version of JAX"):
        got, text = shared_out(all_passes(ours), mesh(4), (X, KERNEL), (SPLIT("data"), SPLIT()))
    assert not calls(text)
    assert_same(got, jax.jit(all_passes(by_lax))(X, KERNEL))
