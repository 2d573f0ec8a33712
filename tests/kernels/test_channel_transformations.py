"""Batch normalisation by kernels under every transformation of JAX is that of Flax."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnnjax import analysis, kernels, layers
from tests.repeats import repeated


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape) + 1, jnp.float32)


def ours(x, scale, bias):
    maps = x.reshape(1, -1, x.shape[-1])
    mean, var = kernels.moments(maps)
    return kernels.scale_and_shift(maps, mean, lax.rsqrt(var + 1e-5) * scale[None], bias[None]).reshape(x.shape)


def by_flax(x, scale, bias):
    fields = dict(use_fast_variance=False, force_float32_reductions=False, param_dtype=x.dtype)
    norm = nn.BatchNorm(use_running_average=False, **fields)
    return norm.apply({"params": {"scale": scale, "bias": bias}}, x, mutable=["batch_stats"])[0]


def loss(norm, *at):
    return jnp.sum(jnp.sin(norm(*at)))


def gradient(norm):
    return jax.grad(functools.partial(loss, norm), (0, 1, 2))


AT, ALONG = ([drawn(3, 4, 5, 6, seed=s), drawn(6, seed=s), drawn(6, seed=s + 1)] for s in (0, 5))
MANY = [drawn(2, 3, 4, 5, 6), drawn(2, 6, seed=1), drawn(2, 6, seed=2)]


def directions(at):
    return tuple(d.astype(x.dtype) for d, x in zip(ALONG, at, strict=True))


def along(f):
    return lambda *at: jax.jvp(f, at, directions(at))[1]


def against(f):
    """The gradient of what `f` gives, weighted."""
    return jax.grad(lambda *at: sum(jnp.vdot(g, d) for g, d in zip(f(*at), directions(at), strict=True)), (0, 1, 2))


TRANSFORMATIONS = {
    "nothing": (lambda norm: norm, AT),
    "jvp": (along, AT),
    "linearize": (lambda norm: lambda *at: jax.linearize(norm, *at)[1](*directions(at)), AT),
    "grad": (gradient, AT),
    "the map's gradient only": (lambda norm: jax.grad(functools.partial(loss, norm)), AT),
    "grad of grad": (lambda norm: against(gradient(norm)), AT),
    "grad of grad of grad": (lambda norm: against(against(gradient(norm))), AT),
    "forward over reverse": (lambda norm: along(gradient(norm)), AT),
    "reverse over forward": (lambda norm: jax.grad(lambda *at: loss(along(norm), *at), (0, 1, 2)), AT),
    "forward over forward": (lambda norm: along(along(norm)), AT),
    "vmap over maps": (lambda norm: jax.vmap(gradient(norm), (0, None, None)), [MANY[0], *AT[1:]]),
    "vmap over all": (lambda norm: jax.vmap(gradient(norm)), MANY),
    "vmap over scales": (lambda norm: jax.vmap(gradient(norm), (None, 0, None)), [AT[0], MANY[1], AT[2]]),
    "vmap over vmap": (
        lambda norm: jax.vmap(jax.vmap(gradient(norm), (0, None, None)), (None, 0, 0)), MANY,
    ),
    "axes elsewhere": (
        lambda norm: jax.vmap(gradient(norm), (4, 1, 0), out_axes=1),
        [jnp.moveaxis(MANY[0], 0, 4), MANY[1].T, MANY[2]],
    ),
    "a Jacobian": (lambda norm: jax.jacrev(lambda *at: jnp.sin(norm(*at)).sum((0, 1, 2)), (0, 1, 2)), AT),
    "grad of vmap": (lambda norm: gradient(jax.vmap(norm, (0, None, None))), [MANY[0], *AT[1:]]),
    "scan": (lambda norm: lambda *at: lax.scan(lambda x, _: (norm(x, *at[1:]), None), at[0], None, 3)[0], AT),
    "remat": (lambda norm: gradient(jax.checkpoint(norm)), AT),
}  # fmt: skip


REPRESENTATIVE = "linearize", "grad of grad", "vmap over vmap", "axes elsewhere", "scan", "remat"


@pytest.mark.parametrize("name", repeated(sorted(TRANSFORMATIONS, key=lambda n: n not in REPRESENTATIVE), quick=6))
def test_every_transformation_is_that_of_flax(name):
    transform, at = TRANSFORMATIONS[name]
    made = jax.jit(transform(ours))
    assert "@cnnjax_channels1_moments" in made.lower(*at).as_text()
    with jax.enable_x64(True):
        expected = jax.jit(transform(by_flax))(*(np.asarray(x, np.float64) for x in at))
    for got, right in zip(jax.tree.leaves(made(*at)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, right, atol=2e-5 * float(np.abs(right).max()))


@pytest.mark.parametrize("name", ["nothing", "grad"])
def test_eager_and_with_jit_disabled(name):
    transform, at = TRANSFORMATIONS[name]
    expected = jax.tree.leaves(jax.jit(transform(ours))(*at))
    with jax.disable_jit():
        unjitted = transform(ours)(*at)
    for made in (transform(ours)(*at), unjitted):
        for got, right in zip(jax.tree.leaves(made), expected, strict=True):
            np.testing.assert_allclose(got, right, atol=1e-5 * float(jnp.abs(right).max()))


MESH = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
DATA, ALL = jax.sharding.PartitionSpec("data"), jax.sharding.PartitionSpec()
EVEN = [drawn(4, 4, 5, 6), *AT[1:]]


def test_each_device_of_a_shard_map_has_its_own_statistics():
    def sharded(norm):
        own = jax.shard_map(gradient(norm), mesh=MESH, in_specs=(DATA, ALL, ALL), out_specs=(DATA, ALL, ALL))
        return jax.jit(own)

    assert "@cnnjax_channels1_sums" in sharded(ours).lower(*EVEN).as_text()
    halves = [gradient(by_flax)(half, *EVEN[1:]) for half in jnp.split(EVEN[0], 2)]
    expected = (
        jnp.concatenate([h[0] for h in halves]),
        *(a + b for a, b in zip(*(h[1:] for h in halves), strict=True)),
    )
    for got, right in zip(sharded(ours)(*EVEN), expected, strict=True):
        np.testing.assert_allclose(got, right, atol=2e-5 * float(jnp.abs(right).max()))


def test_a_batch_that_xla_shares_out_to_devices_is_not_gathered():
    x = jax.device_put(EVEN[0], jax.sharding.NamedSharding(MESH, DATA))
    compiled = jax.jit(gradient(ours)).lower(x, *EVEN[1:]).compile()
    assert "all-gather" not in compiled.as_text()
    for got, right in zip(compiled(x, *EVEN[1:]), gradient(by_flax)(*EVEN), strict=True):
        np.testing.assert_allclose(got, right, atol=2e-5 * float(jnp.abs(right).max()))


@pytest.mark.parametrize("platforms", [("cuda",), ("tpu",), ("cpu", "cuda")])
def test_programs_for_elsewhere_hold_no_code_of_this_process(platforms):
    text = jax.export.export(jax.jit(gradient(ours)), platforms=platforms)(*AT).mlir_module()
    assert "custom_call" not in text
    assert "stablehlo.reduce" in text


def test_an_exported_program_takes_any_batch():
    (batch,) = jax.export.symbolic_shape("batch")
    some = jax.export.export(jax.jit(gradient(ours)))(
        jax.ShapeDtypeStruct((batch, *AT[0].shape[1:]), jnp.float32), *AT[1:]
    )
    for got, right in zip(some.call(*AT), gradient(by_flax)(*AT), strict=True):
        np.testing.assert_allclose(got, right, atol=2e-5 * float(jnp.abs(right).max()))


def test_float64_is_added_up_in_float64():
    with jax.enable_x64(True):
        wide = [np.asarray(x, np.float64) for x in AT]
        made = jax.jit(gradient(ours))
        assert "custom_call" not in made.lower(*wide).as_text()
        for got, right in zip(made(*wide), jax.jit(gradient(by_flax))(*wide), strict=True):
            np.testing.assert_allclose(got, right, atol=1e-13)


def test_analyses_read_the_same_program_as_without():
    norm = layers.Norm("batch")
    variables = norm.init(jax.random.key(0), AT[0], train=False)

    def theirs(x):
        scale, bias = (variables["params"]["batch"][name] for name in ("scale", "bias"))
        return by_flax(x, scale, bias)

    def of_library(x):
        return norm.apply(variables, x, train=True, mutable=["batch_stats"])[0]

    for analyse in (analysis.cost, analysis.receptive_field, analysis.is_linear):
        assert str(analyse(of_library, AT[0])) == str(analyse(theirs, AT[0]))
