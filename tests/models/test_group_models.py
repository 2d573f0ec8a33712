"""Networks of group convolutions: logits that do not change as the image turns, and as many parameters as without."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import pixels, shapes_of

from cnnjax import InputError, models, ops
from tests.drawn import drawn_variables
from tests.repeats import repeated

ORDER = {"p4": 4, "p4m": 8}
resnet = functools.partial(models.group_resnet, num_classes=3, widths=(4, 6), depth=1)
all_conv = functools.partial(models.group_all_conv, num_classes=3, widths=(4, 6), depth=1, head_width=6)


def all_poses(images, group):
    return jnp.concatenate([ops.group_action(images, element, group=group) for element in range(ORDER[group])])


@pytest.mark.parametrize(
    ("make", "group", "side"),
    repeated(
        [
            (
                functools.partial(all_conv, downsample="polyphase", padding="circular", stem="3x3", head="average"),
                "p4",
                12,
            ),
            (
                functools.partial(resnet, block="bottleneck", pre_activation=True, shortcut="B", downsample="average"),
                "p4m",
                12,
            ),
            (functools.partial(all_conv, norm="none"), "p4m", 12),
            # The maximum at every position of an even map is odd, as the blur needs it.
            (functools.partial(all_conv, downsample="max_blur", padding="valid"), "p4", 28),
            (functools.partial(resnet, norm="group", padding="valid"), "p4", 16),
            # With strides, all maps have to be odd: 33, 17, 9, 5.
            (functools.partial(resnet, stem="7x7", downsample="stride", shortcut="B", head="convolutional"), "p4", 33),
        ],
        quick=2,
    ),
    ids=["polyphase", "bottlenecks, version 2", "all_conv", "blur", "resnet", "strides"],
)
def test_logits_do_not_change_as_the_image_turns(make, group, side):
    model = make(group=group)
    images = pixels(1, side, side, 2)

    @jax.jit
    def run(variables, images):
        # Four turns, then four turns of the mirror image.
        logits, activations = model.apply(variables, all_poses(images, "p4m"))
        maps = {name: value[: ORDER[group]] for name, value in activations.items() if value.ndim == 5}
        return logits, maps, {name: all_poses(value[:1], group) for name, value in maps.items()}

    logits, found, expected = jax.tree.map(np.asarray, run(drawn_variables(model, images), images))
    change = np.abs(logits - logits[:1]).max(1) / np.abs(logits).max()
    assert change[: ORDER[group]].max() < 1e-5
    assert change[ORDER[group] :].min(initial=1) > 1e-4
    assert np.ptp(logits[0]) > 0.01 * np.abs(logits).max()
    # Every map turns with the image, and its orientations change places.
    assert found
    for name, maps in found.items():
        largest = np.abs(maps).max()
        assert maps.shape[3] == ORDER[group]
        np.testing.assert_allclose(maps, expected[name], atol=1e-5 * largest, err_msg=name)
        assert np.abs(maps - maps[:1]).max() > 0.01 * largest


def test_in_training_statistics_are_shared_by_the_orientations():
    model = resnet()
    images = pixels(2, 8, 8, 2)
    variables = drawn_variables(model, images)
    act = functools.partial(ops.group_action, group="p4")
    run = jax.jit(lambda variables, x: model.apply(variables, x, train=True, mutable=["batch_stats"]))
    found = [run(variables, x) for x in (images, jax.jit(act, static_argnums=1)(images, 1))]
    (logits, _), updated = found[0]
    np.testing.assert_allclose(found[1][0][0], logits, atol=1e-5 * np.abs(logits).max())
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4), found[1][1], updated)
    stats = updated["batch_stats"]["conv1"]["norm"]["batch"]
    assert stats["mean"].shape == (2,)
    # The mean over images, positions and orientations of what the first convolution gives.
    kernel = variables["params"]["conv1"]["conv"]["kernel"]
    lift = jax.jit(functools.partial(ops.lifting_conv, group="p4"))
    lifted = np.asarray(lift((np.asarray(images) - np.float32(0.5)) / np.float32(0.25), kernel))
    before = np.asarray(variables["batch_stats"]["conv1"]["norm"]["batch"]["mean"])
    np.testing.assert_allclose(stats["mean"], 0.9 * before + 0.1 * lifted.mean((0, 1, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize(
    "make", repeated([resnet, functools.partial(all_conv, norm="none")]), ids=["resnet", "all_conv"]
)
def test_what_is_not_exact_is_refused_and_may_be_accepted(make):
    images = pixels(1, 12, 12, 2)
    for fields, message in [
        (dict(downsample="stride"), r"layer stage._\w+(/conv1)?/conv: .*\(n \+ 2p − k'\) mod s is 1.* exact=False"),
        (dict(downsample="blur"), r"layer stage._\w+(/conv1)?/pool: .*\(n \+ 2p − k'\) mod s is 1.* exact=False"),
        (
            dict(downsample="max_blur"),
            r"layer stage._\w+(/conv1)?/pool: .*the windows begin 0 before the map and end 1 beyond",
        ),
        (
            dict(downsample="learned_polyphase"),
            r"layer stage._\w+(/conv1)?/pool: .*'learned_polyphase' does not commute",
        ),
        (dict(head="dense"), "head='dense' weighs places"),
        (dict(kernel_size=2), r"layer stage._\w+(/conv1)?/conv: .*Use an odd window"),
    ]:
        with pytest.raises(InputError, match=message):
            shapes_of(make(**fields), *images.shape)
        model = make(exact=False, **fields)
        _, activations = shapes_of(model, *images.shape)
        assert activations["logits"] == (1, 3)
    model = make(exact=False, downsample="stride")
    run = jax.jit(lambda variables, images: model.apply(variables, all_poses(images, "p4"))[0])
    logits = run(drawn_variables(model, images), images)
    assert np.abs(logits - logits[:1]).max() > 1e-3 * np.abs(logits).max()


def test_widths_are_those_of_cohen_and_welling():
    # Section 8.2: ResNet44 of 32, 64, 128 filters becomes one of 11, 23, 45 with p4m.
    fields = dict(num_classes=10, widths=(32, 64, 128))
    planar, _ = shapes_of(models.resnet44(**fields), 1, 32, 32, 3)
    params, activations = shapes_of(models.resnet44(group="p4m", downsample="max", **fields), 1, 32, 32, 3)
    widths = [activations[f"stage{stage}_block1"][-2:] for stage in (1, 2, 3)]
    assert widths == [(8, 11), (8, 23), (8, 45)]
    assert params["stage2_block2/conv1/conv/kernel"] == (3, 3, 8, 23, 23)
    ratio = sum(map(math.prod, params.values())) / sum(map(math.prod, planar.values()))
    assert ratio == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("group", repeated(["p4m", "p4"]))
@pytest.mark.parametrize("make", [models.AllConv, models.resnet20], ids=["all_conv", "resnet20"])
def test_matched_width_has_as_many_channels_and_fewer_parameters(make, group):
    fields = dict(num_classes=10, widths=(32, 64), downsample="max")
    planar, maps = shapes_of(make(**fields), 1, 16, 16, 3)
    params, group_maps = shapes_of(make(group=group, match="width", **fields), 1, 16, 16, 3)
    for name, shape in maps.items():
        if name.startswith("stage"):
            assert math.prod(group_maps[name]) == math.prod(shape)
    # The first layer reads colours, the last one pooled maps: all others have 1 / |G| of the weights.
    inner = [name for name in planar if name.startswith("stage2") and name.endswith("kernel")]
    assert inner
    for name in inner:
        assert math.prod(params[name]) * ORDER[group] == math.prod(planar[name])


@pytest.mark.slow
@pytest.mark.parametrize("make", repeated([resnet, all_conv]), ids=["resnet", "all_conv"])
def test_gradients_reach_every_parameter(make):
    model = make(activation=jnp.tanh)
    images = pixels(4, 8, 8, 2)
    variables = drawn_variables(model, images)

    @jax.jit
    @jax.grad
    def gradient(params):
        (logits, _), _ = model.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])
        return -jax.nn.log_softmax(logits)[:, 0].mean()

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables["params"])):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_the_group_axis_follows_the_stem_or_the_first_convolution():
    _, activations = shapes_of(all_conv(), 1, 8, 8, 3)
    assert activations["stage1_conv1"] == (1, 4, 4, 4, 2)
    assert activations["head_conv2"] == (1, 2, 2, 4, 3)
    assert activations["group_pool"] == (1, 2, 2, 3)
    assert activations["class_maps"] == (1, 2, 2, 3)
    assert shapes_of(resnet(), 1, 8, 8, 3)[1]["conv1"] == (1, 8, 8, 4, 2)
    with pytest.raises(InputError, match="group='p4' needs a stem"):
        shapes_of(resnet(stem="none"), 1, 8, 8, 3)
    with pytest.raises(InputError, match="group='p3' is unknown; use one of p4, p4m"):
        shapes_of(resnet(group="p3"), 1, 8, 8, 3)
