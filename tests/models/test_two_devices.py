"""AlexNet's towers on two devices: the same network, half of it on each, and what the compiled program communicates."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, SingleDeviceSharding
from model_cases import KEY, drawn_variables, pixels

from cnnjax import InputError, models

pytestmark = pytest.mark.skipif(jax.device_count() < 2, reason="the towers need two devices")

NARROW = dict(num_classes=5, widths=(4, 8, 12, 12, 8), dense_widths=(10, 6), std=(1 / 255,))
IMAGES = (3, 16, 20, 3)


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((2,), ("model",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])


def loss_of(apply):
    """Of variables and images, in training; the activations come along."""

    def loss(variables, images):
        logits, activations = apply(variables, images, train=True, rngs={"dropout": KEY})
        return -jax.nn.log_softmax(logits)[:, 0].mean(), activations

    return loss


def assert_same_to_rounding(actual, expected):
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        where, scale = jax.tree_util.keystr(path), np.abs(b).max()
        assert scale > 0, where
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * scale, err_msg=where)


def test_activations_and_gradients_are_those_of_one_device(mesh):
    with jax.enable_x64(True):
        model, images = models.alexnet_small(**NARROW, dtype=jnp.float64), pixels(*IMAGES, dtype=np.float64)
        variables = drawn_variables(model, images)
        placed = models.split_towers(variables, mesh)
        both = (model.apply, models.two_devices(model, mesh))

        one, two = (jax.jit(apply) for apply in both)
        assert_same_to_rounding(two(placed, images), one(variables, images))

        one, two = (jax.jit(jax.value_and_grad(loss_of(apply), argnums=(0, 1), has_aux=True)) for apply in both)
        actual = two(placed, images)
        assert_same_to_rounding(actual, one(variables, images))

    (_, activations), (gradients, _) = actual
    for name, value in activations.items():
        widths = [shard.data.shape[-1] for shard in value.addressable_shards]
        assert widths == [value.shape[-1] // (1 if name == "logits" else 2)] * 2, name
    for parameter, gradient in zip(jax.tree.leaves(placed), jax.tree.leaves(gradients), strict=True):
        assert gradient.sharding.is_equivalent_to(parameter.sharding, gradient.ndim)


COLLECTIVE = re.compile(
    r"= (?P<type>.*?) (?P<kind>all-gather|all-reduce|all-to-all|reduce-scatter|collective-\w+|send|recv)(?:-start)?\("
)


def collectives(f, *arguments):
    """What devices exchange in the compiled f: the kind and the number of values that come out, sorted."""
    # The level of optimisation of `jax.jit` is that of the machine code, after communication is settled.
    program = jax.jit(f).lower(*arguments).compile().as_text()
    found = []
    for match in COLLECTIVE.finditer(program):
        *_, shape = re.findall(r"\w+\[([\d,]*)\]", match["type"])
        found.append((match["kind"], math.prod(int(n) for n in shape.split(",") if n)))
    return sorted(found)


def test_devices_communicate_at_conv3_and_at_the_dense_layers_alone(mesh):
    model, images = models.alexnet_small(**NARROW), pixels(*IMAGES)
    variables = models.split_towers(drawn_variables(model, images), mesh)
    loss = loss_of(models.two_devices(model, mesh))
    _, shapes = jax.eval_shape(loss, variables, images)
    conv3_reads, fc6_reads, fc7_reads, scores = (
        math.prod(shapes[n].shape) for n in ("pool2", "pool5", "fc6", "logits")
    )
    assert len({conv3_reads, fc6_reads, fc7_reads, scores}) == 4
    forward = [*(("all-gather", count) for count in (conv3_reads, fc6_reads, fc7_reads)), ("all-reduce", scores)]
    # What is gathered from both is added up and handed back to each, and the logits are on both devices already.
    backward = [("reduce-scatter", count // 2) for count in (conv3_reads, fc6_reads, fc7_reads)]

    assert collectives(loss, variables, images) == sorted(forward)
    assert collectives(jax.grad(loss, has_aux=True), variables, images) == sorted(forward + backward)
    # The images are on both devices, so what their gradient sums over towers has to cross once more.
    to_images = jax.grad(lambda images: loss(variables, images)[0])
    assert collectives(to_images, images) == sorted([*forward, *backward, ("all-reduce", images.size)])


def test_without_exchange_devices_add_up_the_scores_and_no_more(mesh):
    model, images = models.alexnet_small(**NARROW, exchange=False), pixels(*IMAGES)
    variables = drawn_variables(model, images)
    apply = jax.jit(models.two_devices(model, mesh))
    placed = models.split_towers(variables, mesh)
    logits, expected = apply(placed, images)[0], model.apply(variables, images)[0]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert collectives(models.two_devices(model, mesh), placed, images) == [("all-reduce", logits.size)]


def test_each_device_holds_half_of_the_parameters(mesh):
    model, images = models.alexnet_small(num_classes=10), jnp.ones((1, 32, 32, 3))
    variables = drawn_variables(model, images)
    placed = models.split_towers(variables, mesh)
    held = dict.fromkeys(mesh.devices, 0)
    for leaf in jax.tree.leaves(placed):
        for shard in leaf.addressable_shards:
            held[shard.device] += shard.data.nbytes
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(variables))
    assert len(held) == 2
    # Both hold the logits' biases, and nothing else twice.
    assert set(held.values()) == {(total + 10 * 4) // 2}
    assert max(held.values()) <= 0.501 * total


def test_the_large_network_leaves_half_on_each_device(mesh):
    model = models.alexnet(num_classes=1000)
    variables = jax.eval_shape(model.init, KEY, jnp.ones((1, 224, 224, 3)))
    shardings = models.tower_shardings(variables, mesh)
    held = jax.tree.map(lambda leaf, sharding: math.prod(sharding.shard_shape(leaf.shape)), variables, shardings)
    assert sum(jax.tree.leaves(held)) == (60_965_224 + 1000) // 2


def test_a_step_needs_about_half_the_memory_on_each_device(mesh):
    model, images = models.alexnet_small(num_classes=10), jnp.ones((16, 32, 32, 3))
    variables = jax.eval_shape(model.init, KEY, images)
    placed = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        variables,
        models.tower_shardings(variables, mesh),
    )
    needed = []
    for apply, arguments in ((model.apply, variables), (models.two_devices(model, mesh), placed)):
        gradient = jax.grad(lambda v, x, apply=apply: loss_of(apply)(v, x)[0])
        memory = jax.jit(gradient).lower(arguments, images).compile().memory_analysis()
        needed.append(memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes)
    assert needed[1] <= 0.6 * needed[0]


def test_a_checkpoint_moves_between_both_placements(mesh, tmp_path):
    model, images = models.alexnet_small(**NARROW), pixels(*IMAGES)
    variables = drawn_variables(model, images)
    leaves, tree = jax.tree.flatten(models.split_towers(variables, mesh))
    np.savez(tmp_path / "checkpoint.npz", *leaves)
    with np.load(tmp_path / "checkpoint.npz") as saved:
        restored = jax.tree.unflatten(tree, [saved[name] for name in saved.files])
    jax.tree.map(np.testing.assert_array_equal, restored, variables)
    home = jax.device_put(models.split_towers(restored, mesh), SingleDeviceSharding(jax.devices()[0]))
    jax.tree.map(np.testing.assert_array_equal, home, variables)


def test_parameters_can_be_initialised_in_place(mesh):
    model, images = models.alexnet_small(**NARROW), jnp.ones(IMAGES)
    shardings = models.tower_shardings(jax.eval_shape(model.init, KEY, images), mesh)
    variables = jax.jit(model.init, out_shardings=shardings)(KEY, images)
    kernel = variables["params"]["conv4"]["kernel"]
    assert [shard.data.shape for shard in kernel.addressable_shards] == [(3, 3, 6, 6)] * 2
    assert [shard.index[-1] for shard in kernel.addressable_shards] == [slice(0, 6), slice(6, 12)]


@pytest.mark.parametrize(
    ("fields", "shape", "axis", "message"),
    [
        (
            dict(towers=1),
            (2,),
            "model",
            "AlexNet: towers=1 need as many devices along the mesh axis 'model', which has 2",
        ),
        ({}, (1,), "model", "AlexNet: towers=2 need as many devices along the mesh axis 'model', which has 1"),
        ({}, (2,), "data", "the mesh has axes ('data',): expected one named 'model'"),
        (dict(downsample="polyphase"), (2,), "model", "downsample='polyphase' chooses one phase for both towers"),
    ],
)
def test_what_cannot_be_split_is_refused(fields, shape, axis, message):
    mesh = jax.make_mesh(shape, (axis,), axis_types=(AxisType.Auto,), devices=jax.devices()[: shape[0]])
    with pytest.raises(InputError) as error:
        models.two_devices(models.alexnet_small(**NARROW, **fields), mesh)
    assert message in str(error.value)
    if axis != "model":
        with pytest.raises(InputError, match="expected one named 'model'"):
            models.split_towers({"params": {}}, mesh)


def test_bad_images_are_refused_as_on_one_device(mesh, without_type_checks):
    model = models.alexnet_small(**NARROW)
    variables = jax.eval_shape(model.init, KEY, jnp.ones(IMAGES))
    apply = models.two_devices(model, mesh)
    with pytest.raises(InputError, match="layer fc6: it was initialised on 8 values"):
        jax.eval_shape(apply, variables, jnp.ones((1, 32, 32, 3)))
    with pytest.raises(InputError, match="images are int32"):
        jax.eval_shape(apply, variables, jnp.ones(IMAGES, jnp.int32))
