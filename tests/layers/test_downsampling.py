"""Ways to make a map smaller: each is its op, and circular ones commute with circular shifts as far as they can."""

import functools
import itertools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from layer_cases import draw

from cnnjax import InputError, layers, models, ops
from tests.drawn import KEY, drawn_variables
from tests.repeats import repeated

POOLS = ("stride", "max", "average", "blur", "max_blur", "polyphase", "learned_polyphase", "alias_free")


@pytest.mark.parametrize("shape", [(2, 12, 3), (2, 6, 9, 3)])
@pytest.mark.parametrize(
    ("downsample", "fields", "op"),
    [
        ("stride", {}, lambda x: x[:, *(slice(None, None, 3),) * (x.ndim - 2)]),
        ("max", {}, lambda x: ops.max_pool(x, 3)),
        ("average", {}, lambda x: ops.avg_pool(x, 3)),
        ("max", dict(window=5, padding="circular"), lambda x: ops.max_pool(x, 5, stride=3, padding="circular")),
        ("average", dict(window=5, padding=2), lambda x: ops.avg_pool(x, 5, stride=3, padding=2)),
        ("blur", {}, lambda x: ops.blur_pool(x, stride=3, padding="reflect")),
        ("blur", dict(padding="circular"), lambda x: ops.blur_pool(x, stride=3, padding="circular")),
        ("blur", dict(padding="valid"), lambda x: ops.blur_pool(x, stride=3, padding="valid")),
        ("max_blur", dict(padding=1), lambda x: ops.max_blur_pool(x, 3, stride=3, padding="reflect")),
        (
            "max_blur",
            dict(padding="circular", window=2),
            lambda x: ops.max_blur_pool(x, 2, stride=3, padding="circular"),
        ),
        ("polyphase", dict(padding="valid"), lambda x: ops.polyphase_pool(x, stride=3)),
        ("alias_free", dict(padding="valid"), lambda x: ops.alias_free_pool(x, stride=3)),
    ],
)
def test_a_pool_is_its_op(downsample, fields, op, shape):
    x = draw(*shape)
    pool = layers.Pool(downsample, 3, **fields)
    found, expected = jax.jit(lambda x: (pool.apply({}, x, train=True), op(x)))(x)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("downsample", POOLS)
def test_circular_pools_commute_with_shifts_by_their_factor_and_polyphase_pools_with_all(downsample):
    x = draw(4, 6, 4, 3)
    pool = layers.Pool(downsample, 2, "circular")
    variables = drawn_variables(pool, x, train=False)
    run = jax.jit(lambda x: pool.apply(variables, x, train=False))
    y = np.asarray(run(x))
    for offset in ((2, 0), (-4, 2)):
        moved = run(np.roll(x, offset, (1, 2)))
        np.testing.assert_allclose(moved, np.roll(y, (offset[0] // 2, offset[1] // 2), (1, 2)), atol=1e-6)
    moved = np.asarray(run(np.roll(x, (1, 3), (1, 2))))
    orbit = [np.roll(y, shift, (1, 2)) for shift in itertools.product(range(3), range(2))]
    # Each image is found moved by a shift of its own, as each chooses a phase of its own.
    distance = np.stack([np.abs(moved - other).max((1, 2, 3)) for other in orbit]).min(0)
    if downsample in ("polyphase", "learned_polyphase"):
        np.testing.assert_allclose(distance, 0, atol=1e-6)
    else:
        assert (distance > 1e-2).all()


def test_a_blurred_map_keeps_its_mean_under_circular_padding():
    x = draw(2, 8, 6, 3)
    y = jax.jit(lambda x: layers.Pool("blur", 2, "circular").apply({}, x, train=False))(x)
    # Each pixel counts 1/2 along each axis, all windows together.
    np.testing.assert_allclose(np.asarray(y).mean((1, 2)), np.asarray(x).mean((1, 2)), atol=1e-6)


@pytest.fixture(scope="module")
def chooser():
    x = draw(3, 4, 6, 2)
    layer = layers.LearnedPolyphase(2)
    return x, layer, drawn_variables(layer, x, train=False)


def scores(variables, x):
    """The equation written out, over the phases (0, 0), (0, 1), (1, 0), (1, 1)."""
    kernel, bias = (np.asarray(variables["params"]["conv"][name]) for name in ("kernel", "bias"))
    v = np.asarray(variables["params"]["score"]["kernel"])
    found = []
    for row, column in itertools.product(range(2), range(2)):
        phase = np.asarray(x)[:, row::2, column::2]
        shifted = {(i, j): np.roll(phase, (1 - i, 1 - j), (1, 2)) for i, j in np.ndindex(3, 3)}
        maps = sum(shifted[i, j] @ kernel[i, j] for i, j in shifted) + bias
        found.append(np.maximum(maps, 0).mean((1, 2)) @ v)
    return np.concatenate(found, -1)


def test_the_learned_choice_is_the_highest_score(chooser):
    x, layer, variables = chooser

    @jax.jit
    def choose(x):
        phase = layer.apply(variables, x, train=False)
        return phase, layers.take_phase(x, phase, stride=2)

    expected = scores(variables, x).argmax(-1)
    phase, y = choose(x)
    np.testing.assert_array_equal(phase, expected)
    for image, number in enumerate(expected):
        np.testing.assert_array_equal(y[image], x[image, number // 2 :: 2, number % 2 :: 2])


def test_of_equal_phases_the_first_is_kept(chooser):
    _, layer, variables = chooser
    choose = jax.jit(lambda x: layer.apply(variables, x, train=False))
    assert choose(np.ones((2, 4, 4, 2), np.float32)).tolist() == [0, 0]


def test_soft_choices_follow_the_scores(chooser):
    # Gumbel-max: as the temperature falls to zero, phase k is chosen with probability softmax(score)_k.
    x, layer, variables = chooser
    n = 4000
    many = np.broadcast_to(np.asarray(x)[:1], (n, *x.shape[1:]))

    @jax.jit
    def choose(many, x):
        sharp, soft = (
            layer.clone(temperature=t).apply(variables, maps, train=True, rngs={"dropout": KEY})
            for t, maps in ((1e-4, many), (1.0, x))
        )
        return sharp, soft, layers.take_phase(x, soft, stride=2)

    sharp, soft, taken = map(np.asarray, choose(many, x))
    np.testing.assert_allclose(sharp.sum(-1), 1, rtol=1e-5)
    expected = scipy.special.softmax(scores(variables, x[:1])[0])
    np.testing.assert_allclose(sharp.mean(0), expected, atol=4 * np.sqrt(0.25 / n))
    phases = np.stack([np.asarray(x)[:, row::2, column::2] for row, column in itertools.product((0, 1), (0, 1))], 1)
    np.testing.assert_allclose(taken, (soft[:, :, None, None, None] * phases).sum(1), atol=1e-6)


class Mixed(nn.Module):
    """A stem, residual blocks that halve the map, and a global average."""

    downsample: str
    padding: str
    dtype: type
    blocks: Sequence[Callable] = (
        functools.partial(layers.BottleneckBlock, 2, factor=2, shortcut="B"),
        functools.partial(layers.BasicBlock, 8, factor=2, pre_activation=True, shortcut="B"),
    )

    @nn.compact
    def __call__(self, x, *, train=False):
        shared = dict(downsample=self.downsample, padding=self.padding, dtype=self.dtype)
        x = layers.ConvBlock(6, **shared)(x, train=train)
        for block in self.blocks:
            x = block(**shared)(x, train=train)
        return x.mean((1, 2)), {}


BOTTLENECKS = (
    functools.partial(layers.BottleneckBlock, 2, factor=2, pre_activation=True, stride_at="1x1"),
    functools.partial(layers.BottleneckBlock, 4, factor=2, pre_activation=True),
)
NETWORKS = {
    "mixed": Mixed,
    "pre-activated bottlenecks": functools.partial(Mixed, blocks=BOTTLENECKS),
    "resnet": functools.partial(models.ResNet, num_classes=3, depth=1, widths=(6, 8)),
    "all_conv": functools.partial(models.AllConv, num_classes=3, depth=1, widths=(6, 8), head_width=6),
}


def shifted(image, shifts):
    return np.concatenate([np.roll(image, shift, (1, 2)) for shift in shifts])


@pytest.mark.parametrize(
    ("network", "downsample", "dtype", "tolerance"),
    repeated(
        [
            ("mixed", "polyphase", np.float32, 1e-5),
            ("all_conv", "learned_polyphase", np.float64, 1e-12),
            *((network, "polyphase", np.float64, 1e-12) for network in ("pre-activated bottlenecks", "all_conv")),
            *((network, "learned_polyphase", np.float64, 1e-12) for network in NETWORKS if network != "all_conv"),
        ],
        quick=2,
    ),
)
def test_circular_networks_with_polyphase_pools_are_exactly_invariant_to_every_shift(
    network, downsample, dtype, tolerance
):
    with jax.enable_x64(True):
        image = draw(1, 8, 12, 2, dtype=dtype)
        model = NETWORKS[network](downsample=downsample, padding="circular", dtype=dtype)
        variables = drawn_variables(model, image)
        images = shifted(image, [(0, 0), (1, 0), (0, 1), (3, 5), (-2, 7), (5, -4)])
        logits = np.asarray(jax.jit(lambda v, x: model.apply(v, x)[0])(variables, images))
        assert logits.dtype == dtype
        assert np.ptp(logits[0]) > 0.1
        np.testing.assert_allclose(logits - logits[:1], 0, atol=tolerance)


@pytest.mark.parametrize(
    ("downsample", "padding"), repeated([("polyphase", "same"), ("stride", "circular"), ("blur", "circular")], quick=2)
)
def test_without_circular_padding_or_a_choice_of_phase_they_are_not(downsample, padding):
    image = draw(1, 8, 12, 2)
    model = NETWORKS["mixed"](downsample=downsample, padding=padding, dtype=np.float32)
    run = jax.jit(lambda v, x: model.apply(v, x)[0])
    logits = np.asarray(run(drawn_variables(model, image), shifted(image, [(0, 0), (3, 5)])))
    assert np.abs(logits[1] - logits[0]).max() > 1e-2


def test_a_shortcut_at_a_phase_of_its_own_would_break_the_invariance():
    # Chaman & Dokmanić 2021: what the branch chose is not what the shortcut would choose.
    x = draw(16, 8, 8, 4)
    block = layers.ConvBlock(4, factor=2, downsample="polyphase", padding="circular")
    variables = drawn_variables(block, x, train=False)

    @jax.jit
    def phases(x):
        _, chosen = block.apply(variables, x, train=False, method="with_phase")
        return chosen, ops.polyphase_pool_with_phase(x, stride=2)[1]

    chosen, own = phases(x)
    assert (np.asarray(chosen) != np.asarray(own)).any()


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (
            lambda: layers.Pool("median"),
            (1, 4, 4, 1),
            "Pool: downsample='median' is unknown; use one of stride, max",
        ),
        (
            lambda: layers.GroupMapPool("median"),
            (1, 4, 4, 4, 1),
            "GroupMapPool: downsample='median' is unknown; use one of stride, max",
        ),
        (lambda: layers.Pool("polyphase", 5), (1, 4, 4, 1), "layer Pool: stride=5"),
        (lambda: layers.Pool("learned_polyphase", 5), (1, 4, 4, 1), "layer Pool: stride=5"),
        (lambda: layers.Pool("max", 5), (1, 4, 4, 1), "layer Pool: the window spans 5"),
        (lambda: layers.ConvBlock(2, factor=5, downsample="polyphase"), (1, 4, 4, 1), "layer pool: stride=5"),
    ],
)
def test_what_cannot_be_pooled_is_said_with_the_layer(make, shape, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda: make().init(KEY, jnp.ones(shape), train=False))


@pytest.mark.parametrize("downsample", POOLS)
@pytest.mark.parametrize(
    "padding", repeated(["valid", "circular", (((1, 0), (0, 1)),), "same", "full", "reflect", "same_xla", 1], quick=3)
)
def test_every_downsampling_of_maps_over_a_group_works_or_is_refused(downsample, padding, without_type_checks):
    for exact, size, batch in itertools.product((True, False), (8, 9), (0, 2)):
        pool = layers.GroupMapPool(downsample, 2, padding, 3, exact=exact)
        x = jax.ShapeDtypeStruct((batch, size, size, 4, 2), jnp.float32)
        init = functools.partial(pool.init_with_output, {"params": KEY, "dropout": KEY}, train=True)
        if exact and downsample == "learned_polyphase":
            with pytest.raises(InputError, match=r"layer GroupMapPool: .*learned_polyphase"):
                jax.eval_shape(init, x)
            continue
        try:
            y, _ = jax.eval_shape(init, x)
        except InputError:
            # What does not commute with a quarter turn: amounts that differ, or a remainder that no window reads.
            assert exact
            assert downsample != "alias_free"
            assert downsample != "polyphase" or size % 2
        else:
            assert y.shape[0] == batch
            assert y.shape[1] == y.shape[2] or isinstance(padding, tuple)
            assert y.shape[3:] == (4, 2)
