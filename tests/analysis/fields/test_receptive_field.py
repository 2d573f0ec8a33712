"""Receptive fields of published networks, through any framework, and what is refused."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnnjax import InputError, analysis, models, ops
from tests.repeats import repeated


def images(side, batch=1):
    return jax.ShapeDtypeStruct((batch, side, side, 1), jnp.float32)


def conv(x, k, stride=1, padding="same", dilation=1):
    return ops.conv(x, jnp.ones((k, k, 1, 1)), stride=stride, padding=padding, dilation=dilation)


def pool(x, k, stride, padding="valid"):
    return ops.max_pool(x, k, stride=stride, padding=padding)


def rule(field):
    """(r, S, P) of a field that is the same along both axes, exact and of aligned branches."""
    assert field.exact == (True, True)
    assert field.aligned == (True, True)
    assert field.unfollowed == ()
    assert not field.selected
    assert not field.mixes_images
    (r, s, p), other = zip(field.size, field.stride, field.padding, strict=True)
    assert (r, s, p) == other
    return r, s, p


def alexnet_v2(x):
    layers = {"conv1": conv(x, 11, 4, "valid")}
    x = layers["pool1"] = pool(layers["conv1"], 3, 2)
    x = layers["conv2"] = conv(x, 5)
    x = pool(x, 3, 2)
    for name in ("conv3", "conv4", "conv5"):
        x = layers[name] = conv(x, 3)
    layers["pool5"] = pool(x, 3, 2)
    return layers


def vgg_16(x):
    layers = {}
    for stage, depth in enumerate((2, 2, 3, 3, 3), 1):
        for _ in range(depth):
            x = conv(x, 3)
        x = layers[f"pool{stage}"] = pool(x, 2, 2)
    return layers


def resnet_v1_50_slim(x):
    """The stride is in the last unit of blocks 1 to 3, whose shortcut takes every second position."""
    x = pool(conv(x, 7, 2, 3), 3, 2, "same_xla")
    layers = {}
    for block, depth in enumerate((3, 4, 6, 3), 1):
        for unit in range(1, depth + 1):
            stride = 2 if unit == depth and block < 4 else 1
            x = conv(conv(conv(x, 1), 3, stride, 1), 1) + x[:, ::stride, ::stride]
        layers[f"block{block}"] = x
    return layers


def resnet(x, depths, block):
    """He et al. 2016 with the stride in the first block of a stage and 1×1 convolutions in its shortcut."""
    x = pool(conv(x, 7, 2, 3), 3, 2, 1)
    for stage, depth in enumerate(depths):
        for unit in range(depth):
            stride = 2 if stage > 0 and unit == 0 else 1
            shortcut = conv(x, 1, stride) if stride > 1 else x
            x = jax.nn.relu(block(x, stride) + shortcut)
    return x


def basic(x, stride):
    return conv(jax.nn.relu(conv(x, 3, stride)), 3)


def bottleneck_v1(x, stride):
    return conv(conv(conv(x, 1, stride), 3), 1)


def bottleneck_v1_5(x, stride):
    return conv(conv(conv(x, 1), 3, stride), 1)


def lenet_5(x):
    return pool(conv(pool(conv(x, 5, 1, "valid"), 2, 2), 5, 1, "valid"), 2, 2)


# Araujo, Norris & Sim 2019 and the table of google-research/receptive_field.
@pytest.mark.parametrize(
    ("network", "rows"),
    [
        (
            alexnet_v2,
            {
                "conv1": (11, 4, 0),
                "pool1": (19, 8, 0),
                "conv2": (51, 8, 16),
                "conv3": (99, 16, 32),
                "conv4": (131, 16, 48),
                "conv5": (163, 16, 64),
                "pool5": (195, 32, 64),
            },
        ),
        (
            vgg_16,
            {
                "pool1": (6, 2, 2),
                "pool2": (16, 4, 6),
                "pool3": (44, 8, 18),
                "pool4": (100, 16, 42),
                "pool5": (212, 32, 90),
            },
        ),
        (
            resnet_v1_50_slim,
            {"block1": (35, 8, 15), "block2": (99, 16, 47), "block3": (291, 32, 143), "block4": (483, 32, 239)},
        ),
    ],
)
def test_published_rows(network, rows):
    fields = analysis.receptive_field(network, images(224))
    assert {name: rule(field) for name, field in fields.items()} == rows


@pytest.mark.parametrize(
    ("depths", "block", "row"),
    repeated(
        [
            ((2, 2, 2, 2), basic, (435, 32, 217)),
            ((3, 4, 6, 3), basic, (899, 32, 449)),
            ((3, 4, 6, 3), bottleneck_v1_5, (427, 32, 213)),
            ((3, 4, 6, 3), bottleneck_v1, (483, 32, 241)),
        ]
    ),
)
def test_imagenet_resnets(depths, block, row):
    field = analysis.receptive_field(functools.partial(resnet, depths=depths, block=block), images(224))
    assert rule(field) == row
    assert field.units == (7, 7)


def without_parameters(model):
    """The network as a function of images alone: parameters are part of the program, and never computed."""
    return lambda x: model.init_with_output(jax.random.key(0), x)[0]


def cifar_resnet(x, depth):
    """He et al. 2016, section 4.2, with shortcuts of option A."""
    x = conv(x, 3)
    for stage in range(3):
        for unit in range(depth):
            stride = 2 if stage > 0 and unit == 0 else 1
            x = basic(x, stride) + x[:, ::stride, ::stride]
    return x


@pytest.mark.parametrize(
    ("depth", "row"),
    repeated([(3, (81, 4, 40)), (5, (137, 4, 68)), (7, (193, 4, 96)), (9, (249, 4, 124)), (18, (501, 4, 250))]),
)
def test_cifar_resnets(depth, row):
    assert rule(analysis.receptive_field(functools.partial(cifar_resnet, depth=depth), images(32))) == row


def test_a_model_gives_the_fields_of_all_its_activations():
    model = models.resnet20(num_classes=10, widths=(2, 3, 4))
    logits, activations = analysis.receptive_field(without_parameters(model), images(32))
    assert [rule(activations[f"stage{stage}_block3"]) for stage in (1, 2, 3)] == [(15, 1, 7), (37, 2, 18), (81, 4, 40)]
    assert rule(activations["pool"]) == rule(logits) == (32, 0, 0)


# TensorFlow's "same" pads a stride of 2 by (0, 1) on an even map, where the size-independent one pads (1, 1).
@pytest.mark.parametrize(("padding", "row"), [("same_xla", (27, 4, 10)), ("same", (27, 4, 13))])
def test_all_cnn_c(padding, row):
    model = models.all_cnn_c(num_classes=10, widths=(2, 3), head_width=4, padding=padding)
    _, activations = analysis.receptive_field(without_parameters(model), images(32))
    assert rule(activations["class_maps"]) == row


def test_lenet_5():
    assert rule(analysis.receptive_field(lenet_5, images(28))) == (16, 4, 0)


@pytest.mark.parametrize("padding", ["circular", "reflect"])
def test_borders_with_content_keep_the_rule_of_the_interior(padding):
    model = models.ResNet(num_classes=10, depth=1, widths=(2, 3), padding=padding)
    zeros = models.ResNet(num_classes=10, depth=1, widths=(2, 3))
    _, found = analysis.receptive_field(without_parameters(model), images(64))
    _, expected = analysis.receptive_field(without_parameters(zeros), images(64))
    for name in ("conv1", "stage1_block1", "stage2_block1"):
        assert rule(found[name]) == rule(expected[name])
        # Mirrored about the border pixel, a symmetric field falls on itself.
        assert found[name].border == (("circular",) * 2 if padding == "circular" else ("clipped",) * 2)
    field = found["stage2_block1"]
    first, last = field.span((0, 0))[0]
    source = np.arange(first, last + 1)
    assert set(field.support((0, 0))[0]) == set(source % 64 if padding == "circular" else np.abs(source))


def test_fields_of_one_unit():
    field = analysis.receptive_field(lambda x: pool(conv(conv(x, 3), 3, 2), 2, 2), images(16))
    assert rule(field) == (7, 4, 2)
    assert field.units == (4, 4)
    assert field.span((0, 3)) == ((-2, 4), (10, 16))
    assert field.clipped_span((0, 3)) == ((0, 4), (10, 15))
    assert field.center((0, 3)) == (1.0, 13.0)
    assert [list(reads) for reads in field.support((0, 3))] == [list(range(5)), list(range(10, 16))]


def test_a_span_is_not_a_support():
    def gridded(x):
        for _ in range(3):
            x = ops.conv(x, jnp.ones((3, 1, 1)), dilation=2)
        return x

    field = analysis.receptive_field(gridded, jax.ShapeDtypeStruct((1, 40, 1), jnp.float32))
    assert (field.size, field.stride, field.padding, field.exact) == ((13,), (1,), (6,), (True,))
    (reads,) = field.support((20,))
    assert list(reads) == [14, 16, 18, 20, 22, 24, 26]


def test_tokens_are_units_by_row_and_column():
    def embed(x):
        patches = ops.conv(x, jnp.ones((16, 16, 1, 5)), stride=16, padding="valid")
        tokens = patches.reshape(x.shape[0], -1, 5)
        mixed = jax.nn.dot_product_attention(*[tokens[:, :, None]] * 3)
        return {"tokens": tokens, "mixed": mixed}

    fields = analysis.receptive_field(embed, images(224))
    assert rule(fields["tokens"]) == (16, 16, 0)
    assert fields["tokens"].units == (14, 14)
    assert fields["tokens"].span((1, 2)) == ((16, 31), (32, 47))
    assert rule(fields["mixed"]) == (224, 0, 0)
    assert fields["mixed"].center((3, 5)) == (111.5, 111.5)


def test_branches_that_are_not_aligned_are_told():
    even = analysis.receptive_field(lambda x: x + conv(x, 2), images(8))
    assert (even.aligned, even.size, even.padding) == ((False, False), (2, 2), (0, 0))
    strides = analysis.receptive_field(lambda x: conv(x, 3, 2)[:, :4] + x[:, 3:7, ::2], images(8))
    assert strides.aligned == (False, True)
    same_size = analysis.receptive_field(lambda x: conv(x, 3, 1, ((0, 2), (1, 1))) + conv(x, 3), images(8))
    assert (same_size.aligned, same_size.size) == ((False, True), (4, 3))
    gated = analysis.receptive_field(lambda x: conv(x, 3) * x.mean((1, 2), keepdims=True), images(8))
    assert rule(gated) == (8, 0, 0)


def test_a_filter_that_is_a_sum_of_slices_has_no_branches():
    def blur(x):
        padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
        return padded[:, :-2:2] + 2 * padded[:, 1:-1:2] + padded[:, 2::2]

    field = analysis.receptive_field(lambda x: conv(blur(x), 3) + blur(x), images(8))
    assert (field.aligned, field.size, field.stride, field.padding) == ((True, True), (7, 3), (2, 1), (3, 1))


def test_channels_may_differ_and_the_unit_reads_all():
    def inception(x):
        branches = [conv(x, 1), conv(x, 3), conv(x, 5), pool(x, 3, 1, 1)]
        joined = jnp.concatenate(branches, -1)
        return joined, ops.conv(joined, jnp.ones((3, 3, 2, 4)), groups=2)

    joined, grouped = analysis.receptive_field(inception, images(16))
    assert (rule(joined), rule(grouped)) == ((5, 1, 2), (7, 1, 3))


def test_statistics_of_the_batch_mix_images():
    model = models.ResNet(num_classes=3, depth=1, widths=(2, 3))

    def training_mode(x):
        variables = model.init(jax.random.key(0), x)
        return model.apply(variables, x, train=True, mutable=["batch_stats"])[0][1]["conv1"]

    field = analysis.receptive_field(training_mode, images(8, batch=2))
    assert field.mixes_images
    assert (field.size, field.stride) == ((8, 8), (0, 0))
    running = analysis.receptive_field(without_parameters(model), images(8, batch=2))[1]["conv1"]
    assert not running.mixes_images


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(2, (3, 3), strides=2, padding=1)(x))
        return nn.Dense(3)(nn.max_pool(x, (2, 2), (2, 2)))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 2, (3, 3), strides=2, padding=1, rngs=rngs)
        self.dense = nnx.Linear(2, 3, rngs=rngs)

    def __call__(self, x):
        return self.dense(nnx.max_pool(nnx.relu(self.conv(x)), (2, 2), (2, 2)))


def equinox_network():
    eqx = pytest.importorskip("equinox")
    net = eqx.nn.Sequential(
        [eqx.nn.Conv2d(1, 2, 3, 2, 1, key=jax.random.key(0)), eqx.nn.Lambda(jax.nn.relu), eqx.nn.MaxPool2d(2, 2)]
    )
    return lambda x: jax.vmap(net)(jnp.moveaxis(x, -1, 1)).transpose(0, 2, 3, 1)


def plain(x):
    return ops.max_pool(jax.nn.relu(ops.conv(x, jnp.ones((3, 3, 1, 2)), stride=2)), 2)


def linen_network():
    model = Linen()
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    return lambda x: model.apply(variables, x)


@pytest.mark.parametrize(
    "network", [linen_network, lambda: Nnx(nnx.Rngs(0)), equinox_network, lambda: plain, lambda: jax.jit(plain)]
)
def test_every_framework_gives_the_same_field(network):
    field = analysis.receptive_field(network(), images(16, batch=2))
    assert rule(field) == (5, 4, 1)
    assert field.units == (4, 4)


def test_inside_another_transformation_parameters_are_traced_and_positions_known():
    def sum_of(kernel):
        def network(x):
            return ops.conv(x, kernel, stride=2)[:, jnp.arange(4, 0, -1) - 1]

        field = analysis.receptive_field(network, images(9))
        assert (field.size, field.stride, field.padding) == ((3, 3), (-2, 2), (-5, 1))
        return kernel.sum()

    assert jax.jit(sum_of)(jnp.ones((3, 3, 1, 1))) == 9


def test_what_cannot_be_followed_is_named_and_counts_as_everything():
    def opaque(x):
        result = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return {"before": conv(x, 3), "after": conv(jax.pure_callback(lambda a: a, result, conv(x, 3)), 3)}

    fields = analysis.receptive_field(opaque, images(8))
    assert rule(fields["before"]) == (3, 1, 1)
    after = fields["after"]
    assert after.unfollowed == ("pure_callback",)
    assert (after.size, after.stride, after.padding, after.exact) == ((8, 8), (0, 0), (0, 0), (False, False))


def test_a_result_without_images_reads_nothing():
    field = analysis.receptive_field(lambda x: jnp.ones(3), images(8))
    assert (field.size, field.span((0, 0))) == ((0, 0), ((0, -1), (0, -1)))
    assert all(reads.size == 0 for reads in field.support((0, 0)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.uint8), "uint8.*divide"),
        (jax.ShapeDtypeStruct((8, 8), jnp.float32), r"\(8, 8\).*batch, height, width, channels"),
        (np.zeros((0, 8, 8, 1), np.float32), r"\(0, 8, 8, 1\).*empty"),
    ],
)
def test_images_that_are_none_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        analysis.receptive_field(lambda x: x, given)


@pytest.mark.parametrize("position", [(4, 4), (0, -1), (0, 4), (0,), (0, 0, 0)])
def test_a_unit_that_there_is_not_is_refused(position):
    field = analysis.receptive_field(lambda x: pool(x, 2, 2), images(8))
    for of in (field.span, field.clipped_span, field.center, field.support):
        with pytest.raises(InputError, match=r"position=.*\(4, 4\)"):
            of(position)
