"""AlexNet's towers on two devices: the same network, half of it on each, and what the compiled program communicates."""

import dataclasses
import math
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding
from jaxtyping import PyTree
from model_cases import pixels

from cnnjax import InputError, models
from tests.drawn import KEY, drawn_variables

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


COLLECTIVE = re.compile(
    r"= (?P<type>.*?) (?P<kind>all-gather|all-reduce|all-to-all|reduce-scatter|collective-\w+|send|recv)(?:-start)?\("
)


def compiled(f, *arguments):
    # The level of optimisation of `jax.jit` is that of the machine code, after communication is settled.
    return jax.jit(f).lower(*arguments).compile()


def collectives(program):
    """What devices exchange in a compiled program: the kind and the number of values that come out, sorted."""
    found = []
    for match in COLLECTIVE.finditer(program.as_text()):
        *_, shape = re.findall(r"\w+\[([\d,]*)\]", match["type"])
        found.append((match["kind"], math.prod(int(n) for n in shape.split(",") if n)))
    return sorted(found)


@dataclasses.dataclass
class Programs:
    """The network in use and its gradients in training, compiled for one device or for two."""

    apply: Callable
    variables: PyTree
    images: jax.Array

    def __post_init__(self):
        self.loss = loss_of(self.apply)
        step = jax.value_and_grad(self.loss, argnums=(0, 1), has_aux=True)
        self.forward, self.step = (compiled(f, self.variables, self.images) for f in (self.apply, step))


@pytest.fixture(scope="module")
def one_and_two(mesh):
    with jax.enable_x64(True):
        model, images = models.alexnet_small(**NARROW, dtype=jnp.float64), pixels(*IMAGES, dtype=np.float64)
        variables = drawn_variables(model, images)
        placed = models.split_towers(variables, mesh)
        return Programs(model.apply, variables, images), Programs(models.two_devices(model, mesh), placed, images)


def test_activations_and_gradients_are_those_of_one_device(one_and_two):
    with jax.enable_x64(True):
        (forward, step), (forward_of_two, step_of_two) = (
            (on.forward(on.variables, on.images), on.step(on.variables, on.images)) for on in one_and_two
        )
    assert_same_to_rounding(forward_of_two, forward)
    assert_same_to_rounding(step_of_two, step)
    (_, activations), (gradients, _) = step_of_two
    for name, value in activations.items():
        widths = [shard.data.shape[-1] for shard in value.addressable_shards]
        assert widths == [value.shape[-1] // (1 if name == "logits" else 2)] * 2, name
    for parameter, gradient in zip(jax.tree.leaves(one_and_two[1].variables), jax.tree.leaves(gradients), strict=True):
        assert gradient.sharding.is_equivalent_to(parameter.sharding, gradient.ndim)


def test_devices_communicate_at_conv3_and_at_the_dense_layers_alone(one_and_two):
    _, two = one_and_two
    with jax.enable_x64(True):
        _, shapes = jax.eval_shape(two.apply, two.variables, two.images)
        gradient = compiled(jax.grad(two.loss, has_aux=True), two.variables, two.images)
    conv3_reads, fc6_reads, fc7_reads, scores = (
        math.prod(shapes[n].shape) for n in ("pool2", "pool5", "fc6", "logits")
    )
    assert len({conv3_reads, fc6_reads, fc7_reads, scores}) == 4
    forward = [*(("all-gather", count) for count in (conv3_reads, fc6_reads, fc7_reads)), ("all-reduce", scores)]
    # What is gathered from both is added up and handed back to each, and the logits are on both devices already.
    backward = [("reduce-scatter", count // 2) for count in (conv3_reads, fc6_reads, fc7_reads)]

    assert collectives(two.forward) == sorted(forward)
    assert collectives(gradient) == sorted(forward + backward)
    # The images are on both devices, so what their gradient sums over towers has to cross once more.
    assert collectives(two.step) == sorted([*forward, *backward, ("all-reduce", two.images.size)])


def test_a_step_needs_about_half_the_memory_on_each_device(one_and_two):
    one, two = (on.step.memory_analysis() for on in one_and_two)
    needed = [m.argument_size_in_bytes + m.output_size_in_bytes + m.temp_size_in_bytes for m in (one, two)]
    assert needed[1] <= 0.6 * needed[0]


def test_without_exchange_devices_add_up_the_scores_and_no_more(mesh):
    model, images = models.alexnet_small(**NARROW, exchange=False), pixels(*IMAGES)
    variables = drawn_variables(model, images)
    placed = models.split_towers(variables, mesh)
    apply = compiled(models.two_devices(model, mesh), placed, images)
    logits, expected = apply(placed, images)[0], jax.jit(model.apply)(variables, images)[0]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert collectives(apply) == [("all-reduce", logits.size)]


def test_each_device_holds_half_of_the_parameters(mesh):
    model, images = models.alexnet_small(**NARROW), pixels(*IMAGES)
    variables = drawn_variables(model, images)
    placed = models.split_towers(variables, mesh)
    held = dict.fromkeys(mesh.devices, 0)
    for leaf in jax.tree.leaves(placed):
        for shard in leaf.addressable_shards:
            held[shard.device] += shard.data.nbytes
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(variables))
    assert len(held) == 2
    # Both hold the logits' biases, and nothing else twice.
    assert set(held.values()) == {(total + 5 * 4) // 2}


def test_the_large_network_leaves_half_on_each_device(mesh):
    model = models.AlexNet(num_classes=1000)
    variables = jax.eval_shape(model.init, KEY, jnp.ones((1, 224, 224, 3)))
    shardings = models.tower_shardings(variables, mesh)
    held = jax.tree.map(lambda leaf, sharding: math.prod(sharding.shard_shape(leaf.shape)), variables, shardings)
    assert sum(jax.tree.leaves(held)) == (60_965_224 + 1000) // 2


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


def test_towers_and_the_batch_are_split_at_once(one_and_two):
    if jax.device_count() < 4:
        pytest.skip("needs four devices")
    devices = jax.make_mesh((2, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:4])
    one, _ = one_and_two
    with jax.enable_x64(True):
        images = jnp.concatenate([one.images, one.images[:1]])  # four
        model = models.alexnet_small(**NARROW, dtype=jnp.float64)
        step = jax.value_and_grad(loss_of(model.apply), has_aux=True)
        expected = jax.jit(step)(one.variables, images)
        placed = models.split_towers(one.variables, devices)
        halves = jax.device_put(images, NamedSharding(devices, PartitionSpec("data")))
        step_of_four = jax.value_and_grad(loss_of(models.two_devices(model, devices)), has_aux=True)
        found = jax.jit(step_of_four)(placed, halves)
    # Dropout too is that of the whole batch.
    assert_same_to_rounding(found, expected)
    (_, activations), gradients = found
    assert activations["conv1"].addressable_shards[0].data.shape[0] == 2
    for parameter, gradient in zip(jax.tree.leaves(placed), jax.tree.leaves(gradients), strict=True):
        assert gradient.sharding.is_equivalent_to(parameter.sharding, gradient.ndim)
