"""A training on several devices comes to what it comes to on one, and devices exchange no more than they must."""

import collections
import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from cnnjax import InputError, models, runtime
from cnnjax.kernels import choice
from cnnjax.training import (
    DivergedError,
    Placement,
    Settings,
    TrainConfig,
    Training,
    batch_step,
    choose_placement,
    init_state,
    loop,
    train,
    train_together,
)
from cnnjax.training.devices import place
from tests.repeats import repeated
from tests.training.conftest import assert_equal

pytestmark = pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")

CONFIG = TrainConfig(epochs=1, batch_size=40, learning_rate=0.05)
NETWORKS = {
    "all_conv": models.AllConv(num_classes=2, widths=(4,), depth=1, head_width=8),
    "resnet": models.ResNet(num_classes=2, widths=(4, 8), depth=1),
    "vit": models.ViT(num_classes=2, patch_size=4, width=8, depth=1, heads=2, dropout=0.5),
}
WAYS = {
    "on 2 devices, each with its part of the parameters": dict(devices=2, shard_parameters=True),
    "on 8 devices, each with its part of the parameters": dict(devices=8, shard_parameters=True),
    "on 2 devices": dict(devices=2),
}


@pytest.fixture(scope="session")
def problem(problem):
    """Eighty of the images: two batches of forty."""
    images, labels = problem
    return images[:80], labels[:80]


def flipped(key, images, strengths):
    """Each image of the batch, or its mirror image: an augmentation that takes no time to compile."""
    return jnp.where(jax.random.bernoulli(key, shape=(len(images), 1, 1, 1)), images[:, :, ::-1], images)


def of_kind(spec, kind):
    return dataclasses.replace(spec, model=NETWORKS[kind], augment=flipped)


def trained(spec, config, problem, strengths=None, seeds=(3,), **files):
    """The variables and the mean loss of each chunk."""
    losses = []
    spec = dataclasses.replace(spec, batch_size=config.batch_size)
    log = dict(log=lambda **record: losses.append(record["loss"]))
    return train(spec, config, *problem, strengths, seeds=seeds, **log, **files), losses


def assert_close(found, right):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4), found, right)


@pytest.fixture(scope="module")
def on_one(spec, problem):
    """What a network of a kind comes to on one device: once, for all tests."""
    found = {}

    def of(kind):
        if kind not in found:
            found[kind] = trained(of_kind(spec, kind), CONFIG, problem)
        return found[kind]

    return of


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_whole_batch_defines_the_result(kind, spec, problem, on_one):
    # With batch normalization, dropout and flips: all of them are of the whole batch.
    assert_close(trained(of_kind(spec, kind), dataclasses.replace(CONFIG, devices=8), problem), on_one(kind))


CASES = [(kind, way) for way in WAYS for kind in NETWORKS]


@pytest.mark.parametrize(("kind", "way"), repeated(CASES, quick=1))
def test_so_it_does_in_every_other_way(kind, way, spec, problem, on_one):
    assert_close(trained(of_kind(spec, kind), dataclasses.replace(CONFIG, **WAYS[way]), problem), on_one(kind))


@pytest.mark.slow
def test_crops_and_rotations_are_of_the_whole_batch_too(spec, problem, strengths):
    on_eight = dataclasses.replace(CONFIG, devices=8)
    assert_close(*(trained(spec, config, problem, strengths) for config in (on_eight, CONFIG)))


@pytest.mark.slow
def test_parts_of_a_batch_are_shared_out_too(spec, problem):
    in_parts = dataclasses.replace(CONFIG, accumulate=2)
    on_four = dataclasses.replace(in_parts, devices=4)
    spec = of_kind(spec, "all_conv")
    assert_close(*(trained(spec, config, problem) for config in (on_four, in_parts)))


OTHER = dataclasses.replace(CONFIG, learning_rate=0.1, weight_decay=0.01)


# Three networks: two on one and one on the other, or one on each of three.
@pytest.mark.parametrize("devices", repeated([2, 4], quick=1))
def test_networks_are_shared_out_and_come_to_what_each_comes_to(devices, spec, problem):
    spec = dataclasses.replace(of_kind(spec, "all_conv"), batch_size=40)
    said = []

    def together(**options):
        trainings = [
            Training(dataclasses.replace(config, **options), None, seeds)
            for config, seeds in ((CONFIG, [3, 5]), (OTHER, [4]))
        ]
        return train_together(spec, trainings, *problem, progress=lambda done, total, text: said.append(text))

    assert_close(together(devices=devices), together())
    assert said[0] == f"3 networks over {min(devices, 3)} devices"


@pytest.mark.slow
def test_a_network_that_diverges_leaves_the_devices_to_the_others(spec, problem, monkeypatch):
    monkeypatch.setattr(loop, "CHUNK", 1)
    config = dataclasses.replace(CONFIG, devices=2)
    hot = Training(dataclasses.replace(config, learning_rate=1e30), None, [7])
    spec = dataclasses.replace(of_kind(spec, "all_conv"), batch_size=40)
    found = train_together(spec, [Training(config, None, [3]), hot], *problem)
    assert isinstance(found[1], DivergedError)
    assert_close(found[0], train(spec, CONFIG, *problem, None, seeds=[3]))


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


@pytest.mark.parametrize(
    ("before", "after"),
    repeated([(dict(devices=8, shard_parameters=True), {}), ({}, dict(devices=8, shard_parameters=True))], quick=1),
)
def test_a_checkpoint_goes_on_with_another_number_of_devices(
    before, after, spec, problem, on_one, tmp_path, monkeypatch
):
    spec, path = dataclasses.replace(of_kind(spec, "all_conv"), batch_size=40), tmp_path / "state"

    def killed(done, total, text):
        if done == 1:
            raise Killed

    monkeypatch.setattr(loop, "CHUNK", 1)
    config = dataclasses.replace(CONFIG, **before)
    with pytest.raises(Killed):
        train(spec, config, *problem, None, seeds=[3], checkpoint=path, progress=killed)
    found, losses = trained(spec, dataclasses.replace(CONFIG, **after), problem, checkpoint=path)
    assert len(losses) == 1
    assert_close(found, on_one("all_conv")[0])


def compiled_step(spec, image_shape, **options):
    """A step on eight devices, and the state that it takes."""
    placement = choose_placement(TrainConfig(epochs=1, batch_size=40, devices=8, **options), 1)
    spec = dataclasses.replace(spec, batch_size=40, placement=placement)
    state = init_state(spec, jax.random.key(0), image_shape)
    state = place(state, placement.of_state(state))
    batch = place((np.zeros((40, *image_shape), np.uint8), np.zeros(40, np.int32)), placement.shared)
    rest = place((jax.random.key(1), Settings(CONFIG.hyper(80), None)), placement.everywhere)
    step = jax.jit(lambda state, key, pixels, labels, settings: batch_step(spec, state, key, pixels, labels, settings))
    return step.lower(state, rest[0], *batch, rest[1]).compile(), state


def exchanged(program):
    return re.findall(r"= (\S.*) (all-gather|all-to-all|collective-permute|all-reduce)(?:-start)?\(", program.as_text())


@pytest.fixture
def plain(spec):
    """A network whose batch is not augmented."""
    return dataclasses.replace(spec, model=NETWORKS["all_conv"], augment=lambda key, images, strengths: images)


def test_devices_only_add_up_and_each_has_kernels_for_its_images(plain, monkeypatch):
    monkeypatch.setattr(choice, "_LEAST_OPERATIONS", 0)
    program, _ = compiled_step(plain, (8, 8, 1))
    text = program.as_text()
    assert {kind for _, kind in exchanged(program)} == {"all-reduce"}
    assert "convolution(" not in text
    images = re.findall(r"= f32\[1,1,(\d+),.* custom-call\(.*cnnjax_conv\d+_(?:forward|input)", text)
    assert set(images) == {"5"}  # of forty
    assert all(sharding.is_fully_replicated for sharding in jax.tree.leaves(program.output_shardings[0]))


def test_each_device_keeps_its_part_of_the_kernels_and_their_momentum(plain):
    program, state = compiled_step(plain, (8, 8, 1), shard_parameters=True)
    for tree in (state.variables["params"], state.opt_state):
        kernels = [leaf for leaf in jax.tree.leaves(tree) if leaf.ndim > 1]
        parts = [leaf.addressable_shards[0].data.size * 8 == leaf.size for leaf in kernels]
        divisible = [any(size % 8 == 0 for size in leaf.shape) for leaf in kernels]
        assert parts == divisible
        assert any(parts)
    kept = jax.tree.map(lambda leaf: leaf.sharding, state)
    same = jax.tree.map(lambda a, b, leaf: a.is_equivalent_to(b, leaf.ndim), program.output_shardings[0], kept, state)
    assert all(jax.tree.leaves(same))
    # Whole again for the forward pass: parameters are gathered, maps are not.
    gathered = [shape for shape, kind in exchanged(program) if kind == "all-gather"]
    assert gathered
    assert not any("[40," in shape or "[5," in shape for shape in gathered)


@pytest.mark.slow
def test_on_a_mesh_of_one_device_the_step_is_the_plain_one(plain):
    def operations(placement):
        spec = dataclasses.replace(plain, batch_size=40, placement=placement)
        state, settings = init_state(spec, jax.random.key(0), (8, 8, 1)), Settings(CONFIG.hyper(80), None)
        given = state, jax.random.key(1), jnp.zeros((40, 8, 8, 1), jnp.uint8), jnp.zeros(40, jnp.int32), settings
        if placement is not None:
            given = place(given, placement.everywhere)
        text = jax.jit(functools.partial(batch_step, spec)).lower(*given).compile().as_text()
        return collections.Counter(re.findall(r"^ +(?:ROOT )?%[\w.-]+ = \S+ ([\w-]+)\(", text, re.MULTILINE))

    one = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    assert operations(Placement(one)) == operations(None)


def test_kernels_are_split_along_their_longest_axis_that_the_devices_divide(plain):
    placement = choose_placement(dataclasses.replace(CONFIG, devices=8, shard_parameters=True), 1)
    shapes = {(3, 3, 8, 16): (None, None, None, "data"), (3, 3, 24, 16): (None, None, "data"), (3, 5): (), (16,): ()}
    for shape, split in shapes.items():
        assert placement.of_state(jnp.zeros(shape)).spec == PartitionSpec(*split)
        assert placement.of_state(jnp.zeros((2, *shape)), stacked=True).spec == PartitionSpec(
            *([None] if split else []), *split
        )


def test_a_cpu_is_one_device_and_changes_no_bit(spec, problem, on_one):
    assert choose_placement(CONFIG, 1) is None
    assert choose_placement(CONFIG, 30) is None
    one = dataclasses.replace(CONFIG, devices=1)
    assert_equal(trained(of_kind(spec, "all_conv"), one, problem), on_one("all_conv"))


# batch size, options, networks; what is chosen on eight devices
CHOICES = {
    "a large batch": (256, {}, 1, "each batch over 8 devices"),
    "a batch for some": (64, {}, 1, "each batch over 4 devices"),
    "an odd batch": (129, {}, 1, "each batch over 3 devices"),
    "a small batch": (16, {}, 1, None),
    "small parts": (64, dict(accumulate=2), 1, "each batch over 2 devices"),
    "a small batch, if asked for": (16, dict(devices=8), 1, "each batch over 8 devices"),
    "few networks": (256, {}, 4, "each batch over 8 devices"),
    "many networks": (256, {}, 5, "5 networks over 5 devices"),
    "more networks": (16, {}, 9, "9 networks over 5 devices"),
    "many large networks": (256, dict(shard_parameters=True), 9, "each batch and all parameters over 8 devices"),
    "many networks, an odd batch": (129, dict(devices=8), 5, "5 networks over 5 devices"),
    "one device": (256, dict(devices=1), 5, None),
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_chosen_on_an_accelerator(name, monkeypatch):
    size, options, networks, text = CHOICES[name]
    monkeypatch.setattr(runtime, "on_cpu", lambda: False)
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    placement = choose_placement(TrainConfig(batch_size=size, **options), networks)
    assert (placement and placement.describe(networks)) == text


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(batch_size=60, devices=8),
            "train.batch_size=60 cannot be shared evenly by 8 devices: give 56 images, or train.devices=4",
        ),
        (
            dict(batch_size=64, devices=8, accumulate=16),
            "train.batch_size=64 in train.accumulate=16 parts cannot be shared evenly by 8 devices: give 128 images, "
            "or train.devices=4",
        ),
        (dict(devices=10**4), "train.devices=10000 are more than there are: give at most"),
    ],
)
def test_what_devices_cannot_share_is_refused_before_any_work(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        choose_placement(TrainConfig(**options), 1)
