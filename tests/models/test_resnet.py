"""Residual networks: published sizes and counts, twins, and how they start and train."""

import functools
import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import pixels, shapes_of

from cnnjax import analysis, layers, models
from tests.drawn import KEY, drawn_variables
from tests.repeats import repeated

IMAGENET = (1, 224, 224, 3)


def count(params):
    return sum(map(math.prod, params.values()))


# torchvision's documentation, "Num. params" of each network; bottlenecks are its version 1.5.
@pytest.mark.parametrize(
    ("make", "expected"),
    repeated(
        [
            (models.resnet18, 11_689_512),
            (models.resnet50, 25_557_032),
            (models.resnet34, 21_797_672),
            (models.resnet101, 44_549_160),
            (models.resnet152, 60_192_808),
            (models.resnet50_lpf4, 25_557_032),
        ],
        quick=2,
    ),
)
def test_imagenet_resnets_have_the_published_parameter_counts(make, expected):
    params, _ = shapes_of(make(num_classes=1000), *IMAGENET)
    assert count(params) == expected
    # Where the stride is does not show in the parameters.
    if make is models.resnet50:
        assert shapes_of(make(num_classes=1000, stride_at="1x1"), *IMAGENET)[0] == params


def test_version_2_has_its_normalisations_before_the_convolutions():
    # He et al. 2016b, figure 4e: a block's normalisations have the channels that its convolutions read. What follows
    # the last block has 2048, and neither stem nor projections have their own.
    v1, v2 = (
        count(shapes_of(models.resnet50(num_classes=1000, pre_activation=pre), *IMAGENET)[0]) for pre in (False, True)
    )
    blocks = [w for w, depth in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True) for _ in range(depth)]
    inputs = [64, *[4 * w for w in blocks[:-1]]]
    after = [64, *[4 * w for w in blocks], *[4 * w for w in (64, 128, 256, 512)]]
    assert v2 == v1 + 2 * (sum(inputs) + 2048 - sum(after)) == 25_549_352


@pytest.mark.parametrize(
    ("make", "layers"),
    repeated(
        [
            *((models.resnet18, 18), (models.resnet50, 50), (models.resnet20, 20)),
            *((models.plain34, 34), (models.plain56, 56)),
        ],
        quick=3,
    ),
)
def test_names_count_the_layers_with_weights(make, layers):
    params, _ = shapes_of(make(num_classes=1000), *IMAGENET)
    assert sum(name.endswith("kernel") and "projection" not in name for name in params) == layers


@pytest.mark.parametrize(
    ("make", "expansion", "depths"),
    repeated(
        [
            *((models.resnet18, 1, (2, 2, 2, 2)), (models.resnet50, 4, (3, 4, 6, 3))),
            *((models.plain18, 1, (2, 2, 2, 2)), (models.resnet18_lpf4, 1, (2, 2, 2, 2))),
        ],
        quick=2,
    ),
)
def test_maps_have_the_sizes_of_the_table(make, expansion, depths):
    # He et al. 2016, table 1.
    _, activations = shapes_of(make(num_classes=1000), *IMAGENET)
    found = [(name, shape[1:]) for name, shape in activations.items()]
    expected = [("conv1", (112, 112, 64)), ("pool1", (56, 56, 64))]
    for stage, (side, width, depth) in enumerate(zip((56, 28, 14, 7), (64, 128, 256, 512), depths, strict=True), 1):
        expected += [(f"stage{stage}_block{b}", (side, side, expansion * width)) for b in range(1, depth + 1)]
    assert found == [*expected, ("pool", (expansion * 512,)), ("logits", (1000,))]


def test_twins_share_everything_but_the_shortcuts():
    for number in (18, 20, 32, 34, 44, 56):
        residual, plain = (getattr(models, f"{kind}{number}") for kind in ("resnet", "plain"))
        assert plain(num_classes=10) == residual(num_classes=10, residual=False)
    plain, without_parameters, projecting = (
        shapes_of(make(num_classes=1000), *IMAGENET)
        for make in (models.plain18, functools.partial(models.resnet18, shortcut="A"), models.resnet18)
    )
    assert plain == without_parameters
    assert plain[1] == projecting[1]
    extra = set(projecting[0]) - set(plain[0])
    assert plain[0] == {name: shape for name, shape in projecting[0].items() if name not in extra}
    assert {name.split("/")[0] for name in extra} == {f"stage{stage}_block1" for stage in (2, 3, 4)}
    assert {name.split("/")[1] for name in extra} == {"projection", "projection_norm"}


def tiny(**fields):
    return models.ResNet(**{"num_classes": 3, "widths": (3, 4), "depth": (1, 2), **fields})


@pytest.mark.parametrize(
    "fields",
    repeated(
        [
            dict(block="bottleneck", stem="7x7", shortcut="B"),
            dict(pre_activation=True, downsample="learned_polyphase", survival=0.9),
        ]
    ),
)
def test_gradients_reach_every_parameter(fields):
    model = tiny(depth=1, activation=nn.tanh, **fields)
    images = pixels(8, 16, 16, 2)
    variables = drawn_variables(model, images)
    gradient = jax.jit(jax.grad(functools.partial(loss, model, variables, images), has_aux=True))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables["params"])[0]):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def loss(model, variables, images, params):
    (logits, activations), updated = model.apply(
        {**variables, "params": params}, images, train=True, rngs={"dropout": KEY}, mutable=["batch_stats"]
    )
    return -jax.nn.log_softmax(logits)[:, 0].mean(), (activations, updated)


def test_remat_changes_memory_and_no_number():
    models_ = [tiny(widths=(3,), depth=2, survival=0.5, remat=remat) for remat in (False, True)]
    images = pixels(4, 8, 8, 2)
    variables, again = jax.jit(lambda images: [model.init(KEY, images) for model in models_])(images)
    jax.tree.map(np.testing.assert_array_equal, variables, again)
    steps = [jax.value_and_grad(functools.partial(loss, model, variables, images), has_aux=True) for model in models_]
    found = [jax.jit(step)(variables["params"]) for step in steps]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), *found)
    # A block's first convolution runs again in the backward pass; nothing there needs the output of its last.
    kept, computed = (str(jax.make_jaxpr(step)(variables["params"])).count("cnnjax_conv[") for step in steps)
    assert computed >= kept + 2


def test_branches_survive_less_the_deeper_they_are():
    seen = []

    def record(call, arguments, keywords, context):
        if isinstance(context.module, layers.StochasticDepth):
            seen.append(float(context.module.survival))
        return call(*arguments, **keywords)

    with nn.intercept_methods(record):
        jax.eval_shape(tiny(depth=(2, 2), survival=0.2).init, KEY, pixels(1, 8, 8, 2))
    # Huang et al. 2016, equation 4.
    assert seen == pytest.approx([0.8, 0.6, 0.4, 0.2])


# The stem is linear and its weights have variance 2 / fan in, so standardised pixels come out with second moment 2. A
# convolution of a rectified map, which has half the second moment, keeps it.
@pytest.mark.parametrize(
    ("fields", "expected"),
    repeated(
        [
            (dict(norm="batch"), lambda block: 2 + block),
            (dict(norm="none", zero_init_last=True), lambda block: 2),
            (dict(norm="none"), lambda block: 2 * 2**block),
            (dict(norm="batch", zero_init_last=True), lambda block: 2),
            (dict(norm="none", residual=False), lambda block: 2),
            (dict(norm="batch", residual=False), lambda block: 1),
        ],
        quick=2,
    ),
)
def test_the_second_moment_through_depth_is_as_documented(fields, expected):
    depth = range(1, 3)
    shared = dict(widths=(200,), depth=len(depth), kernel_size=1, padding="circular", std=(1 / math.sqrt(12),))
    model = models.ResNet(num_classes=2, pre_activation=True, **shared, **fields)
    images = pixels(64, 3, 3, 16)

    @jax.jit
    def moments(key):
        (_, activations), _ = model.init_with_output(key, images, train=True)
        return [jnp.square(activations[f"stage1_block{block}"]).mean() for block in depth]

    found = np.mean([moments(jax.random.fold_in(KEY, seed)) for seed in range(4)], 0)
    np.testing.assert_allclose(found, [expected(block) for block in depth], rtol=0.15)


def test_initialisation_is_a_map_over_seeds():
    model, images = tiny(widths=(3,), depth=1), pixels(1, 8, 8, 2)
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(jax.vmap(model.init, (0, None)))(keys, images)
    init = jax.jit(model.init)
    for seed, key in enumerate(keys):
        jax.tree.map(
            lambda every, own, s=seed: np.testing.assert_array_equal(every[s], own), together, init(key, images)
        )
    for a, b in itertools.combinations(together["params"]["conv1"]["conv"]["kernel"], 2):
        assert not np.allclose(a, b)


def test_bfloat16_is_for_multiply_adds_alone():
    half, single = (tiny(dtype=dtype, shortcut="B") for dtype in (jnp.bfloat16, jnp.float32))
    images = pixels(4, 8, 8, 2)
    variables = drawn_variables(half, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}

    def run(model):
        return jax.jit(lambda v: model.apply(v, images, train=True, mutable=["batch_stats"]))(variables)

    (logits, activations), updated = run(half)
    assert {leaf.dtype for leaf in jax.tree.leaves(updated)} == {jnp.dtype("float32")}
    blocks = {value.dtype for name, value in activations.items() if name not in ("pool", "logits")}
    assert blocks == {jnp.dtype("bfloat16")}
    assert activations["pool"].dtype == logits.dtype == jnp.float32
    expected = run(single)[0][0]
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())


# He et al. 2016's networks as torchvision pads them, and for 32 pixels; the closed form of Araujo et al. 2019.
@pytest.mark.parametrize(
    ("make", "side", "row"),
    repeated(
        [
            (models.resnet18, 224, (435, 32, 217)),
            (functools.partial(models.resnet50, stride_at="1x1"), 224, (483, 32, 241)),
            (models.plain34, 224, (899, 32, 449)),
            (models.resnet50, 224, (427, 32, 213)),
            (models.resnet56, 32, (249, 4, 124)),
        ],
        quick=2,
    ),
    ids=["resnet18", "resnet50, version 1", "plain34", "resnet50", "resnet56"],
)
def test_receptive_fields(make, side, row):
    model = make(num_classes=2, widths=(1,) * (4 if side == 224 else 3))
    images = jax.ShapeDtypeStruct((1, side, side, 1), jnp.float32)
    fields = analysis.receptive_field(lambda x: model.init_with_output(KEY, x)[0][1], images)
    field = fields[max(name for name in fields if "block" in name)]
    assert (field.size, field.stride, field.padding) == tuple((n, n) for n in row)
    assert field.aligned == (True, True)
