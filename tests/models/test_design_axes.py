"""The axes of the design: every combination is built or refused in words, and each means what it says."""

import collections
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import pixels, shapes_of

from cnnjax import InputError, analysis, models
from tests.drawn import KEY, drawn_variables
from tests.repeats import repeated

POOLS = ("stride", "max", "average", "blur", "max_blur", "polyphase", "learned_polyphase", "alias_free")


def by_stage(count):
    """As many numbers as there are stages."""
    return st.fixed_dictionaries(
        dict(
            widths=st.tuples(*[st.integers(1, 3)] * count),
            depth=st.integers(1, 2) | st.tuples(*[st.integers(1, 2)] * count),
            factors=st.none() | st.tuples(*[st.integers(1, 3)] * count),
        )
    )


stages = st.integers(1, 2).flatmap(by_stage)
axes = st.fixed_dictionaries(
    dict(
        kernel_size=st.integers(1, 5),
        stem=st.sampled_from(["none", "3x3", "7x7", "7x7_strided"]),
        head=st.sampled_from(["average", "dense", "convolutional"]),
        downsample=st.sampled_from(POOLS),
        taps=st.integers(1, 5),
        padding=st.sampled_from(["same", "valid", "full", "circular", "reflect", "same_xla", 1, ((0, 2), (1, 0))]),
        norm=st.sampled_from(["batch", "group", "layer", "none"]),
        group=st.none() | st.sampled_from(["p4", "p4m"]),
        exact=st.booleans(),
    )
)
resnets = st.fixed_dictionaries(
    dict(
        block=st.sampled_from(["basic", "bottleneck"]),
        residual=st.booleans(),
        pre_activation=st.booleans(),
        shortcut=st.sampled_from(["A", "B"]),
        stride_at=st.sampled_from(["1x1", "3x3"]),
        groups=st.integers(1, 2),
        width_per_group=st.sampled_from([16, 64, 128]),
    )
).map(lambda fields: functools.partial(models.ResNet, **fields))
all_convs = st.fixed_dictionaries(dict(head_width=st.integers(1, 3), pool_window=st.none() | st.integers(1, 3))).map(
    lambda fields: functools.partial(models.AllConv, **fields)
)
vggs = st.just(functools.partial(models.VGG, dense_widths=(2, 3)))
outcomes = collections.Counter()


def build_or_refuse(make, stages, axes, size):
    model = make(num_classes=2, **stages, **axes)
    activations, refusal = {}, ""
    try:
        _, activations = shapes_of(model, 3, *size, 2)
    except InputError as error:
        refusal = str(error)
    outcomes["refused" if refusal else "built"] += 1
    if refusal:
        # Either the layer, whose message has its sizes, or the field.
        assert "layer " in refusal or any(f"{name}=" in refusal for name in axes | stages)
    else:
        assert activations["logits"] == (3, 2)
        assert all(0 not in shape for shape in activations.values())


@pytest.mark.parametrize("count", repeated([24, 200]))
def test_every_combination_is_built_or_refused_in_words(count):
    outcomes.clear()
    sizes = st.tuples(st.integers(4, 17), st.integers(4, 17))
    drawn = given(resnets | all_convs | vggs, stages, axes, sizes)(build_or_refuse)
    settings(max_examples=count, deadline=None, derandomize=True)(drawn)()
    assert min(outcomes["built"], outcomes["refused"]) > outcomes.total() / 4


@pytest.mark.parametrize("downsample", repeated(POOLS, quick=3))
def test_every_downsampling_shrinks_the_same_maps(downsample):
    fields = dict(num_classes=2, widths=(2, 2, 2), depth=1, factors=(1, 3, 2), downsample=downsample)
    _, of_blocks = shapes_of(models.ResNet(stem="7x7", **fields), 1, 48, 24, 3)
    assert [of_blocks[name][1:3] for name in ("conv1", "pool1")] == [(24, 12), (12, 6)]
    assert [of_blocks[f"stage{stage}_block1"][1:3] for stage in (1, 2, 3)] == [(12, 6), (4, 2), (2, 1)]
    _, of_convs = shapes_of(models.AllConv(head_width=2, **fields), 1, 48, 24, 3)
    assert [of_convs[f"stage{stage}_conv1"][1:3] for stage in (1, 2, 3)] == [(48, 24), (16, 8), (8, 4)]


def test_depth_and_width_by_stage():
    params, activations = shapes_of(models.ResNet(num_classes=2, widths=(2, 3, 5), depth=(1, 3, 2)), 1, 8, 8, 3)
    blocks = {name: shape[-1] for name, shape in activations.items() if "block" in name}
    assert blocks == {
        "stage1_block1": 2,
        **{f"stage2_block{b}": 3 for b in (1, 2, 3)},
        "stage3_block1": 5,
        "stage3_block2": 5,
    }
    assert params["stage3_block1/conv1/conv/kernel"] == (3, 3, 3, 5)
    params, activations = shapes_of(
        models.AllConv(num_classes=2, widths=(2, 3), depth=(1, 2), kernel_size=5), 1, 8, 8, 3
    )
    assert [name for name in activations if "stage" in name] == ["stage1_conv1", "stage2_conv1", "stage2_conv2"]
    assert params["stage2_conv2/conv/kernel"] == (5, 5, 3, 3)


# Springenberg et al. 2015, tables 1 and 2, class C: the channels of the 3×3 convolutions, then 1×1 192 and 10.
@pytest.mark.parametrize(
    ("make", "channels", "pooled"),
    repeated(
        [
            (models.base_cnn_c, [3, 96, 96, 192, 192, 192], True),
            (models.strided_cnn_c, [3, 96, 96, 192, 192, 192], False),
            (models.conv_pool_cnn_c, [3, 96, 96, 96, 192, 192, 192, 192], True),
            (models.all_cnn_c, [3, 96, 96, 96, 192, 192, 192, 192], False),
        ],
        quick=2,
    ),
)
def test_the_all_convolutional_networks_of_the_paper(make, channels, pooled):
    model = make(num_classes=10)
    params, activations = shapes_of(model, 1, 32, 32, 3)
    expected = sum(9 * a * b + b for a, b in itertools.pairwise(channels)) + 192 * 192 + 192 + 192 * 10 + 10
    assert sum(int(np.prod(shape)) for shape in params.values()) == expected
    depth = len(channels) // 2 - 1
    sides = [activations[f"stage{stage}_conv{layer}"][1] for stage in (1, 2) for layer in range(1, depth + 1)]
    assert sides == [32] * (depth - 1) + [16] * depth + [8]
    assert activations["class_maps"] == (1, 8, 8, 10)
    # r of a 3×3 window at stride 2 after `depth` convolutions of stride 1, or of the last of `depth` in its place.
    first = 1 + 2 * depth + (2 if pooled else 0)
    second = first + 2 * (2 * depth + (2 if pooled else 0))
    tiny = make(num_classes=2, widths=(1, 1), head_width=1)
    images = jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32)
    fields = analysis.receptive_field(lambda x: tiny.init_with_output(KEY, x)[0][1], images)
    sizes = [(fields[name].size, fields[name].stride) for name in (f"stage1_conv{depth}", f"stage2_conv{depth}")]
    assert sizes == [((first,) * 2, (2, 2)), ((second,) * 2, (4, 4))]
    assert fields["class_maps"].size == (second + 8,) * 2


def test_dropout_is_of_the_input_and_after_each_stage():
    model = models.AllConv(num_classes=2, widths=(4, 4), depth=1, head_width=3, norm="none", mean=(-1.0,))
    random = model.clone(input_dropout=0.2, dropout=0.5)
    images = pixels(4, 32, 32, 4)
    # Kernels that pass each channel on.
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), jax.eval_shape(model.init, KEY, images))
    for leaf in jax.tree.leaves(variables):
        if leaf.ndim > 1:
            leaf[tuple(k // 2 for k in leaf.shape[:-2])] = np.eye(*leaf.shape[-2:])

    @jax.jit
    def run(variables):
        in_training = random.apply(variables, images, train=True, rngs={"dropout": KEY})
        return in_training[1], random.apply(variables, images)[1], model.apply(variables, images)[1]

    moving, still, without = jax.tree.map(np.asarray, run(variables))
    jax.tree.map(np.testing.assert_array_equal, still, without)
    ratio = moving["stage1_conv1"] / still["stage1_conv1"]
    kept = 1 / (0.8 * 0.5)
    np.testing.assert_allclose(np.unique(ratio.round(4)), [0, kept])
    assert (ratio > 0).mean() == pytest.approx(0.8 * 0.5, abs=0.03)
    ratio = moving["stage2_conv1"] / still["stage2_conv1"]
    assert (ratio > 0).mean() == pytest.approx(0.8 * 0.5 * 0.5, abs=0.05)
    np.testing.assert_array_equal(moving["head_conv1"], moving["stage2_conv1"][..., :3])


def test_heads_are_what_they_say():
    images = pixels(2, 8, 12, 3)
    heads = {
        name: models.ResNet(num_classes=3, widths=(4,), depth=1, head=name)
        for name in ("average", "dense", "convolutional")
    }
    variables = drawn_variables(heads["average"], images)
    kernel, bias = (variables["params"]["logits"][name] for name in ("kernel", "bias"))
    logits, activations = jax.jit(heads["average"].apply)(variables, images)
    last = np.asarray(activations["stage1_block1"])
    np.testing.assert_allclose(activations["pool"], last.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(logits, last.mean((1, 2)) @ np.asarray(kernel) + np.asarray(bias), rtol=1e-5)

    def with_head(**layer):
        body = {name: value for name, value in variables["params"].items() if name != "logits"}
        return {**variables, "params": body | layer}

    maps = with_head(class_maps={"kernel": np.asarray(kernel)[None, None], "bias": bias})
    scores, activations = jax.jit(heads["convolutional"].apply)(maps, images)
    np.testing.assert_allclose(scores, logits, rtol=1e-5)
    assert list(shapes_of(heads["convolutional"], *images.shape)[1])[-2:] == ["class_maps", "logits"]
    assert activations["class_maps"].shape == (2, 8, 12, 3)

    weights = pixels(8 * 12 * 4, 3)
    dense = with_head(logits={"kernel": weights, "bias": bias})
    scores, _ = jax.jit(heads["dense"].apply)(dense, images)
    np.testing.assert_allclose(scores, last.reshape(2, -1) @ np.asarray(weights) + np.asarray(bias), rtol=1e-4)
    assert list(shapes_of(heads["dense"], *images.shape)[1])[-2:] == ["stage1_block1", "logits"]
    with pytest.raises(InputError, match=r"layer logits: it was initialised on 384 values .* a map of 8×8×4"):
        jax.eval_shape(heads["dense"].apply, dense, images[:, :, :8])


@pytest.mark.parametrize(
    "model",
    [
        models.AllConv(num_classes=3, widths=(4, 4), depth=1, head_width=4, padding="valid"),
        models.ResNet(
            num_classes=3,
            widths=(4, 6),
            depth=1,
            padding="valid",
            head="convolutional",
            shortcut="B",
            pre_activation=True,
        ),
    ],
    ids=["all_conv", "resnet"],
)
def test_a_larger_image_gives_a_map_of_the_scores_of_its_windows(model):
    side, stride = (15, 4) if isinstance(model, models.AllConv) else (13, 2)
    images = pixels(2, side + 2 * stride, side + stride, 1)
    variables = drawn_variables(model, images[:, :side, :side])
    run = jax.jit(model.apply)
    maps = run(variables, images)[1]["class_maps"]
    assert maps.shape[1:3] == (3, 2)
    for i, j in itertools.product(range(3), range(2)):
        window = images[:, stride * i : stride * i + side, stride * j : stride * j + side]
        np.testing.assert_allclose(run(variables, window)[0], maps[:, i, j], rtol=1e-4, atol=1e-5)


KINDS = ["max", "average", "blur", "polyphase", "stride", "max_blur", "learned_polyphase", "alias_free"]


@pytest.mark.parametrize("downsample", repeated(KINDS, quick=4))
def test_the_large_stem_takes_the_maximum_and_then_samples(downsample):
    model = models.ResNet(num_classes=2, widths=(2,), depth=1, stem="7x7", downsample=downsample)
    images = pixels(2, 16, 16, 3)
    _, activations = jax.jit(model.apply)(drawn_variables(model, images), images)
    x = np.asarray(activations["conv1"])
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=0 if downsample == "average" else -np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    if downsample == "average":
        np.testing.assert_allclose(activations["pool1"], windows[:, ::2, ::2].mean((-1, -2)), rtol=1e-5)
        return
    if downsample == "alias_free":  # without a maximum, which would alias
        filtered = np.fft.fft2(x, axes=(1, 2))[:, [0, 1, -1]][:, :, [0, 1, -1]]
        waves = np.exp(2j * np.pi * np.outer([0, 1, -1], np.arange(4) * 2 + 0.5) / 8) / 8
        np.testing.assert_allclose(
            activations["pool1"], np.einsum("bklc,ki,lj->bijc", filtered, waves, waves).real, atol=1e-5
        )
        return
    dense = windows.max((-1, -2))
    if downsample in ("stride", "max"):
        np.testing.assert_allclose(activations["pool1"], dense[:, ::2, ::2])
    elif "polyphase" in downsample:
        found = np.asarray(activations["pool1"])
        phases = [dense[:, i::2, j::2] for i in range(2) for j in range(2)]
        assert all(any((found[b] == phase[b]).all() for phase in phases) for b in range(2))
    else:
        mirrored = np.pad(dense, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(mirrored, (3, 3), (1, 2))[:, ::2, ::2]
        np.testing.assert_allclose(activations["pool1"], windows @ [1, 2, 1] @ [1, 2, 1] / 16, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.ResNet(num_classes=3, depth=(1, 2)), r"depth=\(1, 2\) .* 3 stages .* widths=\(16, 32, 64\)"),
        (lambda: models.AllConv(num_classes=3, factors=(2, 2, 2)), r"factors=\(2, 2, 2\) .* 2 stages"),
        (lambda: models.ResNet(num_classes=3, factors=(1, 0, 2)), r"factors\[1\]=0 must be at least 1"),
        (lambda: models.ResNet(num_classes=3, stem="5x5"), "ResNet: stem='5x5' is unknown; use one of none, 3x3, 7x7"),
        (lambda: models.ResNet(num_classes=3, head="mean"), "ResNet: head='mean' is unknown; use one of average"),
        (
            lambda: models.ResNet(num_classes=3, block="bottle"),
            "ResNet: block='bottle' is unknown; use one of basic",
        ),
        (lambda: models.ResNet(num_classes=3, survival=1.5), "layer stage1_block1/stochastic_depth: survival=1.05"),
        (lambda: models.ResNet(num_classes=3, survival=0.5, residual=False), "layer stage1_block1: survival="),
        (lambda: models.AllConv(num_classes=3, dropout=1.0), r"dropout=1.0 must lie in \[0, 1\)"),
        (lambda: models.AllConv(num_classes=3, pool_window=0), "pool_window=0"),
        (lambda: models.AllConv(num_classes=3, factors=(8, 8), downsample="max"), "layer stage2_conv3/pool: .* 8 "),
        (lambda: models.ResNet(num_classes=3, stem="7x7", padding="valid"), "layer stage1_block1/conv1/conv: .* 2 "),
    ],
)
def test_what_cannot_be_built_says_why(make, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        shapes_of(make(), 1, 16, 16, 3)
