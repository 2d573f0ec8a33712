"""Rematerialisation and bfloat16 make a step smaller, and leave the rest as it is."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import models
from cnnjax.training import Settings, TrainConfig, batch_step, init_state
from tests.repeats import repeated

NETWORKS = {
    "all_conv": functools.partial(models.AllConv, num_classes=3, widths=(8,), depth=4, head_width=8),
    "resnet": functools.partial(models.ResNet, num_classes=3, widths=(8,), depth=4),
    "vit": functools.partial(models.ViT, num_classes=3, patch_size=4, width=16, depth=4, heads=2, dropout=0.5),
}
RANDOM = np.random.default_rng(0)
BATCH = jnp.asarray(RANDOM.integers(0, 256, (8, 16, 16, 3), np.uint8)), jnp.asarray(RANDOM.integers(0, 3, 8), jnp.int32)
SETTINGS = Settings(TrainConfig(epochs=1, batch_size=8, learning_rate=0.05).hyper(8), None)


def stepped(spec, model, state):
    """What a step comes to."""
    spec = dataclasses.replace(spec, model=model, batch_size=8, augment=lambda key, images, strengths: images)
    return jax.jit(functools.partial(batch_step, spec))(state, jax.random.key(1), *BATCH, SETTINGS)


def fresh(spec, model):
    return init_state(dataclasses.replace(spec, model=model), jax.random.key(0), (16, 16, 3))


def between_passes(model, variables):
    """The bytes that the forward pass leaves to the backward pass, parameters apart: what a step has to keep."""
    rest = {name: value for name, value in variables.items() if name != "params"}

    def loss(params):
        pixels = jnp.ones((8, 16, 16, 3))
        rngs = {"dropout": jax.random.key(1)}
        (logits, _), updated = model.apply(
            {"params": params, **rest}, pixels, train=True, mutable=list(rest), rngs=rngs
        )
        return logits.sum(), updated

    backward = jax.eval_shape(lambda params: jax.vjp(loss, params, has_aux=True)[1], variables["params"])
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


@pytest.mark.parametrize("kind", NETWORKS)
def test_rematerialisation_keeps_less_between_the_passes(kind, spec):
    # Of the program, not of what is compiled: XLA's compiler for the CPU makes both computations one, and keeps it.
    make = NETWORKS[kind]
    variables = fresh(spec, make()).variables
    assert between_passes(make(remat=True), variables) < between_passes(make(), variables) / 2


@pytest.mark.parametrize("kind", repeated(["vit", "resnet", "all_conv"]))
def test_rematerialisation_changes_no_number(kind, spec):
    state = fresh(spec, NETWORKS[kind](depth=1))
    kept, again = (stepped(spec, NETWORKS[kind](depth=1, remat=remat), state) for remat in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), again, kept)


@pytest.mark.parametrize("kind", repeated(NETWORKS))
def test_in_bfloat16_parameters_statistics_and_sums_stay_float32(kind, spec):
    wide, narrow = NETWORKS[kind](depth=1), NETWORKS[kind](depth=1, dtype=jnp.bfloat16)
    state = fresh(spec, narrow)
    jax.tree.map(np.testing.assert_array_equal, state, fresh(spec, wide))
    (after, metrics), (_, expected) = (stepped(spec, model, state) for model in (narrow, wide))
    for leaf in jax.tree.leaves((after.variables, after.opt_state, metrics)):
        assert leaf.dtype == jnp.float32
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=0.02)
    assert metrics["loss"] != expected["loss"]
    _, activations = jax.eval_shape(lambda: narrow.apply(state.variables, jnp.ones((1, 16, 16, 3))))
    assert {str(x.dtype) for name, x in activations.items() if "block" in name or "conv" in name} == {"bfloat16"}
    assert activations["logits"].dtype == jnp.float32
