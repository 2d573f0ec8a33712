"""Influence: the derivative's support, within the field of drawn networks, and what a span hides."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, analysis, ops
from tests.references.reading_matrices import MOVES, Branches, Conv, Pool, Transposed, reads_of
from tests.repeats import repeated

SIGNALS = np.random.default_rng(0).normal(size=(2, 16, 1)).astype(np.float32)
IMAGES = np.random.default_rng(0).normal(size=(2, 9, 9, 1)).astype(np.float32)

STACKS = [
    [Conv(3, 2, 1, (1, 1)), Pool(2, 2, (0, 0)), Conv(3, 1, 2, (2, 2))],
    [Conv(3, 1, 1, "circular"), Conv(4, 2, 1, "circular")],
    [Conv(5, 1, 1, "reflect"), Conv(2, 2, 1, "reflect")],
    [Pool(3, 2, (1, 1)), Transposed(4, 2), Conv(2)],
    [Branches([Conv(3, 1, 2, (2, 2)), Conv(2, 1, 1, (0, 1))], "add"), MOVES[0], Conv(3, 3)],
    [Branches([Conv(4, 1, 1, (1, 2))], "concatenate"), MOVES[1], Conv(1, 2)],
]


@pytest.mark.parametrize("stack", repeated(reversed(STACKS), quick=3), ids=str)
def test_linear_networks_are_influenced_by_all_they_read(stack):
    def network(x):
        return functools.reduce(lambda y, layer: layer(y), stack, x)

    truth = reads_of(stack, 16)
    field = analysis.receptive_field(network, SIGNALS)
    for unit in (0, len(truth) // 2):
        found = analysis.influence(network, SIGNALS, unit=(unit,), probes=0)
        np.testing.assert_array_equal(found, truth[unit])
        np.testing.assert_array_equal(np.flatnonzero(found), field.support((unit,))[0])


def test_an_imaginary_path_counts():
    def imaginary(x):
        return jax.lax.complex(jnp.zeros_like(x), ops.shift(x, (2,)))

    found = analysis.influence(imaginary, SIGNALS, unit=(7,), probes=0)
    np.testing.assert_array_equal(np.flatnonzero(found), [5])


@pytest.mark.parametrize("padding", repeated(["circular", "same", "valid"], quick=2))
def test_a_network_is_influenced_by_its_field_alone(padding):
    kernels = [np.random.default_rng(i).normal(size=(3, 3, a, b)) for i, (a, b) in enumerate([(1, 3), (3, 4), (4, 2)])]

    def forward(x):
        layers = {}
        for i, kernel in enumerate(kernels):
            x = jnp.tanh(ops.conv(x, jnp.asarray(kernel, x.dtype), padding=padding))
            x = layers[f"conv{i}"] = ops.max_pool(x, 2) if i == 1 else x
        return layers

    images = np.random.default_rng(1).random((1, 20, 20, 1)).astype(np.float32)
    field = analysis.receptive_field(forward, images)["conv2"]
    allowed = np.zeros((20, 20), bool)
    allowed[np.ix_(*field.support((4, 0)))] = True
    found = analysis.influence(forward, images, "conv2", (4, 0), probes=4)
    assert not (found & ~allowed).any()
    # Every row and column of the field is reached, though of a maximum one winner at a time.
    np.testing.assert_array_equal(found.any(1), allowed.any(1))
    np.testing.assert_array_equal(found.any(0), allowed.any(0))


def test_gridding_is_seen():
    def gridded(x):
        for _ in range(3):
            x = ops.conv(x, jnp.ones((3, 1, 1)), dilation=2)
        return x

    signal = np.ones((1, 41, 1), np.float32)
    found = analysis.influence(gridded, signal)
    assert list(np.flatnonzero(found)) == [14, 16, 18, 20, 22, 24, 26]
    assert analysis.receptive_field(gridded, signal).size == (13,)


def test_dead_paths_are_seen():
    kernel = jnp.array([1.0, 0.0, 1.0]).reshape(3, 1, 1)

    def network(x):
        return ops.conv(x, kernel) + 0 * x + jax.nn.relu(-jnp.abs(ops.conv(x, jnp.ones((7, 1, 1)))))

    assert list(np.flatnonzero(analysis.influence(network, SIGNALS, unit=(8,)))) == [7, 9]
    assert analysis.receptive_field(network, SIGNALS).size == (7,)


def test_more_probes_see_more_of_a_maximum():
    def network(x):
        return ops.max_pool(x, 8)

    few, many = (analysis.influence(network, SIGNALS[:1], unit=(1,), probes=probes) for probes in (0, 100))
    assert few.sum() == 1
    assert list(np.flatnonzero(many)) == list(range(8, 16))


def test_channels_do_not_cancel_and_single_ones_are_had():
    def network(x):
        return jnp.concatenate([ops.conv(x, jnp.ones((3, 3, 1, 1))), -x], -1)

    both = analysis.influence(network, IMAGES, unit=(4, 4), probes=1)
    assert both.sum() == 9
    assert both[4, 4]
    # An int is a channel, at the middle of the map.
    for unit in ((4, 4, 1), 1):
        (place,) = np.argwhere(analysis.influence(network, IMAGES, unit=unit, probes=1))
        assert tuple(place) == (4, 4)


def test_other_images_of_the_batch_count():
    def normalised(x):
        return x - x.mean((0,), keepdims=True)

    only_second = np.zeros_like(SIGNALS)
    assert list(np.flatnonzero(analysis.influence(normalised, only_second, unit=(3,), probes=1))) == [3]


def two_layers(x):
    return {"first": {"conv": ops.conv(x, jnp.ones((3, 3, 1, 1)))}, "second": [x.mean((1, 2)), x]}


@pytest.mark.parametrize(("layer", "reached"), [("conv", 9), ("first/conv", 9), ("second/1", 1), ("second/0", 81)])
def test_layers_go_by_key_or_path(layer, reached):
    unit = 0 if layer == "second/0" else None
    assert analysis.influence(two_layers, IMAGES, layer, unit, probes=0).sum() == reached


def test_the_same_key_gives_the_same_probes():
    def network(x):
        return ops.max_pool(x, 16)

    a, b, c = (analysis.influence(network, SIGNALS, unit=(0,), probes=1, key=jax.random.key(k)) for k in (3, 3, 4))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def nan_images():
    images = IMAGES.copy()
    images[0, 3, 3] = np.nan
    return images


@pytest.mark.parametrize("measure", [analysis.influence, analysis.effective_receptive_field])
@pytest.mark.parametrize(
    ("f", "images", "layer", "unit", "message"),
    [
        (two_layers, IMAGES, "konv", None, "layer='konv' is unknown.*conv"),
        (two_layers, IMAGES, "xyz", None, "layer='xyz' is unknown; use one of conv, second/0, second/1"),
        (two_layers, IMAGES, None, None, "3 activations.*first/conv"),
        (lambda x: ({"a": x}, {"a": x}), IMAGES, "a", None, "ambiguous.*0/a, 1/a"),
        (two_layers, IMAGES, "second/0", None, r"\(2, 1\) has no spatial axes"),
        (lambda x: x.sum(), IMAGES, None, None, "scalar"),
        (lambda x: x, IMAGES, None, (9, 0), r"unit=\(9, 0\).*below \(9, 9, 1\)"),
        (lambda x: x, IMAGES, None, (0, -1), "from 0"),
        (lambda x: x, IMAGES, None, (0, 0, 0, 0), "up to 3 indices"),
        (lambda x: x, nan_images(), None, None, "NaN"),
        (lambda x: x, (IMAGES * 0).astype(np.uint8), None, None, "uint8"),
        (lambda x: x, IMAGES[0], None, None, None),
        (lambda x: x, IMAGES[0, 0], None, None, r"\(9, 1\)"),
        (lambda x: x, IMAGES[:0], None, None, "empty"),
    ],
)
def test_bad_input_is_refused(measure, f, images, layer, unit, message):
    if message is None:  # an image without a batch passes for a batch of signals
        assert measure(f, images, layer, unit) is not None
        return
    with pytest.raises(InputError, match=message):
        measure(f, images, layer, unit)


def test_a_negative_number_of_probes_is_refused():
    with pytest.raises(InputError, match="probes=-1"):
        analysis.influence(lambda x: x, IMAGES, probes=-1)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), strides=2, padding=1)(x)
        return {"maps": nn.tanh(x), "logits": nn.Dense(3)(nn.tanh(x).reshape(x.shape[0], -1))}


@pytest.mark.parametrize("unit", repeated([((0, 4),), ((2, 1),)]))
def test_units_of_a_flax_network_reach_the_ends_of_their_span(unit):
    net = Net()
    variables = net.init(jax.random.key(0), IMAGES)

    def forward(x):
        return net.apply(variables, x)

    field = analysis.receptive_field(forward, IMAGES)["maps"]
    expected = np.zeros((9, 9), bool)
    (top, bottom), (left, right) = field.clipped_span(unit)
    expected[top : bottom + 1, left : right + 1] = True
    np.testing.assert_array_equal(analysis.influence(forward, IMAGES, "maps", unit, probes=0), expected)
