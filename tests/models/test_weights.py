"""Weights in files: names and shapes as torchvision has them, and one message for whatever else a file holds."""

import math
import pickle
import re
import zipfile

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from torchvision_scheme import RESNETS, VGGS, alexnet_shapes, resnet_shapes, timm_vgg, vgg_shapes

from cnnjax import InputError, models
from cnnjax.models import published, torch_layout
from tests.drawn import KEY
from tests.repeats import repeated

NARROW = dict(depth=(2, 1, 1, 1), widths=(2, 3, 4, 5))


def narrow(name):
    """Random arrays with that network's names, for the few blocks and channels of `NARROW`."""
    return draw(resnet_shapes(**RESNETS[name] | dict(depths=NARROW["depth"]), widths=NARROW["widths"], num_classes=7))


def draw(shapes):
    rng = np.random.default_rng(0)
    return {
        name: np.asarray(rng.integers(1, 9)) if name.endswith("tracked") else rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def error_of(call, *arguments, **keywords):
    with pytest.raises(InputError) as error:
        call(*arguments, **keywords)
    return str(error.value)


# As torchvision's documentation of each network gives them.
@pytest.mark.parametrize(
    ("name", "parameters"),
    repeated(
        [
            ("alexnet", 61_100_840),
            ("resnet18", 11_689_512),
            ("resnext50_32x4d", 25_028_904),
            ("vgg11", 132_863_336),
            ("vgg11_bn", 132_868_840),
            ("resnet34", 21_797_672),
            ("resnet50", 25_557_032),
            ("resnet101", 44_549_160),
            ("resnet152", 60_192_808),
            ("resnext101_32x8d", 88_791_336),
            ("resnext101_64x4d", 83_455_272),
            ("wide_resnet50_2", 68_883_240),
            ("wide_resnet101_2", 126_886_696),
            ("vgg13", 133_047_848),
            ("vgg13_bn", 133_053_736),
            ("vgg16", 138_357_544),
            ("vgg16_bn", 138_365_992),
            ("vgg19", 143_667_240),
            ("vgg19_bn", 143_678_248),
        ],
        quick=5,
    ),
)
def test_names_and_shapes_are_torchvisions(name, parameters):
    network = published.published(name)
    if name == "alexnet":
        shapes = alexnet_shapes()
    elif name in RESNETS:
        shapes = resnet_shapes(**RESNETS[name], counters=False)
    else:
        shapes = vgg_shapes(VGGS[name.removesuffix("_bn")], normalised=name.endswith("_bn"))
    assert network.make is getattr(models, "alexnet_one_tower" if name == "alexnet" else name)
    assert sum(math.prod(shape) for key, shape in shapes.items() if "running" not in key) == parameters
    tensors = jax.tree.leaves(torch_layout.tensors(network.make(num_classes=1000), network.names))
    assert len(tensors) == len(shapes)
    assert {tensor.name: tensor.torch_shape for tensor in tensors} == shapes


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_file_comes_back_to_the_bit(name, tmp_path):
    arrays = narrow(name)
    save_file(arrays, tmp_path / "a.safetensors")
    model, variables = models.load_weights(name, tmp_path / "a.safetensors", **NARROW)
    assert model.num_classes == 7
    models.save_weights(name, tmp_path / "b.safetensors", variables, **NARROW)
    written = load_file(tmp_path / "b.safetensors")
    assert written.keys() == arrays.keys()
    for key, array in arrays.items():
        expected = np.zeros((), np.int64) if key.endswith("tracked") else array
        assert (written[key].dtype, written[key].shape) == (expected.dtype, expected.shape)
        assert written[key].tobytes() == expected.tobytes(), key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_variables_are_those_of_init(tmp_path):
    save_file(narrow("resnet18"), tmp_path / "a.safetensors")
    model, variables = models.load_weights("resnet18", tmp_path / "a.safetensors", **NARROW)
    fresh = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), variables) == jax.tree.map(lambda x: (x.shape, x.dtype), fresh)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(variables))


def test_pixels_are_standardised_as_on_imagenet_unless_told_otherwise(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(narrow("resnet18"), path)
    model, _ = models.load_weights("resnet18", path, **NARROW)
    assert (model.mean, model.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    model, _ = models.load_weights("resnet18", path, mean=(0.5,), std=(0.5,), padding="circular", **NARROW)
    assert (model.mean, model.std, model.padding) == ((0.5,), (0.5,), "circular")


@pytest.mark.parametrize("dtype", repeated([ml_dtypes.bfloat16, np.float16, np.float64]))
def test_other_floats_become_float32(dtype, tmp_path):
    arrays = {key: array.astype(dtype) if array.ndim else array for key, array in narrow("resnet18").items()}
    save_file(arrays, tmp_path / "a.safetensors")
    _, variables = models.load_weights("resnet18", tmp_path / "a.safetensors", **NARROW)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(variables["params"]["logits"]["kernel"], arrays["fc.weight"].astype(np.float32).T)


def test_bfloat16_variables_are_written_as_float32(tmp_path):
    save_file(narrow("resnet18"), tmp_path / "a.safetensors")
    _, variables = models.load_weights("resnet18", tmp_path / "a.safetensors", **NARROW)
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    models.save_weights("resnet18", tmp_path / "b.safetensors", rounded, **NARROW)
    written = load_file(tmp_path / "b.safetensors")["fc.weight"]
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written.T, rounded["params"]["logits"]["kernel"].astype(jnp.float32))


def test_counters_may_be_absent(tmp_path):
    arrays = {key: array for key, array in narrow("resnet18").items() if not key.endswith("tracked")}
    save_file(arrays, tmp_path / "a.safetensors")
    models.load_weights("resnet18", tmp_path / "a.safetensors", **NARROW)


def test_one_message_lists_everything_that_does_not_fit(tmp_path):
    arrays = narrow("resnet18")
    arrays["bn1.bias"] = np.zeros(64, np.float32)
    arrays["conv1.weight"] = np.zeros((2, 3, 7, 7), np.int8)
    arrays["head.num_batches_tracked"] = np.zeros((), np.int64)
    for key in [key for key in arrays if key.startswith("layer1.1.")]:
        arrays[f"module.{key}"] = arrays.pop(key)
    save_file(arrays, tmp_path / "a.safetensors")
    message = error_of(models.load_weights, "resnet18", tmp_path / "a.safetensors", **NARROW)
    first, missing, unexpected, shapes = message.split("\n  ")
    assert first == f"{tmp_path / 'a.safetensors'} does not hold the weights of resnet18:"
    # 2 kernels and 4 values for each of 2 normalisations.
    names = [
        "layer1.1.bn1.bias",
        "layer1.1.bn1.running_mean",
        "layer1.1.bn1.running_var",
        "layer1.1.bn1.weight",
        "layer1.1.bn2.bias",
        "layer1.1.bn2.running_mean",
        "layer1.1.bn2.running_var",
        "layer1.1.bn2.weight",
    ]
    assert missing == f"missing (10): {', '.join(names)}, ..."
    assert unexpected.startswith("unexpected (13): head.num_batches_tracked, module.layer1.1.bn1.bias, ")
    assert shapes == (
        "of another shape (2): bn1.bias is [64], not [2], conv1.weight is I8 [2, 3, 7, 7], not [2, 3, 7, 7]."
    )


def test_the_weights_of_another_network_are_refused(tmp_path):
    save_file(narrow("resnet50"), tmp_path / "a.safetensors")
    message = error_of(models.load_weights, "resnet18", tmp_path / "a.safetensors", **NARROW)
    assert "missing" not in message
    # A convolution and a normalisation (five arrays with its counter) more in each of 5 blocks and to project stage 1.
    assert "unexpected (36): layer1.0.bn3.bias, " in message
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "a.safetensors")
    message = error_of(models.load_weights, "resnet18", tmp_path / "a.safetensors")
    # 20 convolutions of 1 array and 20 normalisations of 4; there is no head to be missed.
    assert "missing (100): bn1.bias, " in message
    assert "unexpected (1): w" in message


def without(arrays, *names):
    return {name: array for name, array in arrays.items() if name not in names}


def test_a_head_for_other_classes_or_none_is_drawn_anew_and_said(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(narrow("resnet18"), path)
    _, full = models.load_weights("resnet18", path, **NARROW)
    with pytest.warns(UserWarning, match="a.safetensors has a head for 7 classes: one for 9 classes is drawn anew"):
        model, changed = models.load_weights("resnet18", path, num_classes=9, key=KEY, **NARROW)
    save_file(without(narrow("resnet18"), "fc.weight", "fc.bias"), path)
    with pytest.warns(UserWarning, match="a.safetensors has no head: one for 9 classes is drawn anew"):
        _, completed = models.load_weights("resnet18", path, num_classes=9, key=KEY, **NARROW)
    with pytest.warns(UserWarning, match="a.safetensors has no head: one for 1000 classes is drawn anew"):
        _, by_default = models.load_weights("resnet18", path, **NARROW)
    heads = [variables["params"].pop("logits") for variables in (changed, completed, by_default, full)]
    for variables in (changed, completed, by_default):
        jax.tree.map(np.testing.assert_array_equal, variables, full)
    fresh = jax.jit(model.init)(KEY, jnp.zeros((1, 32, 32, 3)))["params"]["logits"]
    assert np.std(fresh["kernel"]) > 0.1
    for head in heads[:2]:
        jax.tree.map(np.testing.assert_array_equal, head, fresh)
    assert heads[2]["kernel"].shape == (5, 1000)


def test_half_a_head_and_the_body_of_another_network_are_refused_all_the_same(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(without(narrow("resnet18"), "fc.weight"), path)
    message = error_of(models.load_weights, "resnet18", path, num_classes=9, **NARROW)
    assert "missing (1): fc.weight" in message
    save_file(without(narrow("resnet50"), "fc.weight", "fc.bias"), path)
    assert "unexpected (36): layer1.0.bn3.bias, " in error_of(models.load_weights, "resnet18", path, **NARROW)


@pytest.mark.parametrize(
    "prefix", repeated(["module._orig_mod.", "layer1.0.", "module.", "model.", "state_dict."], quick=2)
)
def test_what_stands_before_all_names_is_left_out(prefix, tmp_path):
    path = tmp_path / "a.safetensors"
    arrays = narrow("resnet18")
    save_file(arrays, path)
    _, expected = models.load_weights("resnet18", path, **NARROW)
    save_file({prefix + name: array for name, array in arrays.items()}, path)
    _, variables = models.load_weights("resnet18", path, **NARROW)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


def test_vgg_without_its_head_keeps_its_names(tmp_path):
    # All that is left begins with "features.", which is no wrapper's.
    shapes = vgg_shapes((1, 1), normalised=False, widths=(2, 3), dense_widths=(1, 1))
    save_file(draw({name: shape for name, shape in shapes.items() if "features" in name}), tmp_path / "a.safetensors")
    fields = dict(widths=(2, 3), depth=1, head="average")
    with pytest.warns(UserWarning, match="has no head"):
        _, variables = models.load_weights("vgg11", tmp_path / "a.safetensors", num_classes=4, **fields)
    assert variables["params"]["logits"]["kernel"].shape == (3, 4)


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn"])
def test_timms_names_of_a_vgg_are_read_too(name, tmp_path):
    path, fields = tmp_path / "a.safetensors", dict(widths=(2, 3), depth=1, dense_widths=(6, 5))
    shapes = vgg_shapes((1, 1), normalised=name.endswith("bn"), widths=(2, 3), dense_widths=(6, 5), num_classes=4)
    # Two stages leave 56 positions a side of images of 224.
    shapes["classifier.0.weight"] = (6, 3 * 56 * 56)
    arrays = draw(shapes)
    save_file(arrays, path)
    _, expected = models.load_weights(name, path, **fields)
    renamed = timm_vgg(arrays, side=56)
    assert renamed["pre_logits.fc1.weight"].shape == (6, 3, 56, 56)
    for prefix in ("", "model."):
        save_file({prefix + key: array for key, array in renamed.items()}, path)
        _, found = models.load_weights(name, path, **fields)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    save_file(without(renamed, "head.fc.weight", "head.fc.bias"), path)
    with pytest.warns(UserWarning, match="has no head: one for 4 classes"):
        models.load_weights(name, path, num_classes=4, **fields)
    save_file(without(renamed, "pre_logits.fc2.bias"), path)
    assert "missing (1): classifier.3.bias" in error_of(models.load_weights, name, path, **fields)


def test_grey_images_see_the_sum_of_the_colours_kernels(tmp_path):
    # As timm's `in_chans`: the sum for 1 channel, otherwise the three in turn, times 3 / in_chans.
    path = tmp_path / "a.safetensors"
    arrays = narrow("resnet18")
    save_file(arrays, path)
    kernel = np.moveaxis(arrays["conv1.weight"], (0, 1), (-1, -2))
    model, grey = models.load_weights("resnet18", path, in_chans=1, **NARROW)
    np.testing.assert_allclose(grey["params"]["conv1"]["conv"]["kernel"], kernel.sum(2, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose((model.mean, model.std), ((0.449,), (0.226,)), rtol=1e-6)
    model, five = models.load_weights("resnet18", path, in_chans=5, **NARROW)
    expected = np.stack([kernel[..., c, :] for c in (0, 1, 2, 0, 1)], 2) * 3 / 5
    np.testing.assert_allclose(five["params"]["conv1"]["conv"]["kernel"], expected, rtol=1e-6)
    assert model.mean == (0.485, 0.456, 0.406, 0.485, 0.456)
    # The file's own channels are those of the network.
    models.save_weights("resnet18", tmp_path / "b.safetensors", grey, **NARROW)
    for in_chans in (None, 1):
        model, again = models.load_weights("resnet18", tmp_path / "b.safetensors", in_chans=in_chans, **NARROW)
        jax.tree.map(np.testing.assert_array_equal, again, grey)
        assert len(model.mean) == 1


def test_channels_that_cannot_be_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(narrow("resnet18") | {"conv1.weight": np.zeros((2, 1, 7, 7), np.float32)}, path)
    message = error_of(models.load_weights, "resnet18", path, in_chans=3, **NARROW)
    assert "conv1.weight is [2, 1, 7, 7], not [2, 3, 7, 7]" in message
    assert "in_chans=0 must be at least 1" in error_of(models.load_weights, "resnet18", path, in_chans=0, **NARROW)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (dict(in_chans="1"), "in_chans='1' must be an int"),
        (dict(key=0), "key=0 must be a random key; give jax.random.key(0)"),
        (dict(num_classes=0), "ResNet: num_classes=0 must be at least 1"),
        (dict(num_classes="ten"), "ResNet: num_classes='ten' must be an int"),
        (dict(widths=(2, 3, 4, 5.5)), "ResNet: widths[3]=5.5 must be an int"),
        (dict(groups=2), "ResNet: groups=2, width_per_group=64 are of bottleneck blocks"),
    ],
)
def test_arguments_that_cannot_be(fields, said, tmp_path, without_type_checks):
    save_file(narrow("resnet18"), tmp_path / "a.safetensors")
    assert said in error_of(models.load_weights, "resnet18", tmp_path / "a.safetensors", **NARROW | fields)


def test_a_filter_that_is_not_the_networks_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(narrow("resnet18"), path)
    _, variables = models.load_weights("resnet18", path, **NARROW)
    models.save_weights("resnet18_lpf4", path, variables, **NARROW)
    arrays = load_file(path)
    line = np.array([1, 3, 3, 1]) / 8
    np.testing.assert_array_equal(arrays["layer2.0.downsample.0.filt"], [[np.outer(line, line)]] * 2)
    _, again = models.load_weights("resnet18_lpf4", path, **NARROW)
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    message = error_of(models.load_weights, "resnet18_lpf4", path, taps=3, **NARROW)
    assert "of another shape (7): layer2.0.conv2.0.filt is [3, 1, 4, 4], not [3, 1, 3, 3]" in message
    assert "unexpected (" in error_of(models.load_weights, "resnet18", path, **NARROW)
    arrays["maxpool.1.filt"][0, 0, 0, 0] = 0
    save_file(arrays, path)
    message = error_of(models.load_weights, "resnet18_lpf4", path, **NARROW)
    assert "maxpool.1.filt is not the binomial filter that resnet18_lpf4 blurs with" in message


@pytest.mark.parametrize("name", ["resnet20", "resnet50v2", "vit", ""])
def test_networks_that_those_libraries_do_not_have_are_refused(name, tmp_path):
    message = error_of(models.load_weights, name, tmp_path / "a.safetensors")
    assert f"no weights for {name!r}: one of alexnet, vgg11, " in message


@pytest.mark.parametrize("fields", [dict(pre_activation=True), dict(norm="group"), dict(norm="none")])
def test_fields_with_parameters_of_another_name_are_refused(fields, tmp_path):
    save_file(narrow("resnet18"), tmp_path / "a.safetensors")
    error_of(models.load_weights, "resnet18", tmp_path / "a.safetensors", **NARROW, **fields)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors"])
def test_no_pickle_is_opened(protocol, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung"), protocol))
    message = error_of(models.load_weights, "resnet18", path)
    assert not (tmp_path / "sprung").exists()
    if protocol or suffix != ".safetensors":
        assert "reading one can execute anything" in message
        assert "torch.load(" in message
        assert repr(str(tmp_path / "a.converted.safetensors")) in message


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_no_zip_is_opened(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Trap(tmp_path / "sprung")))
    assert "torch.load(" in error_of(models.load_weights, "resnet18", path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><title>Not found</title>", None])
def test_a_damaged_file_is_refused(content, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(narrow("resnet18"), path)
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    message = error_of(models.load_weights, "resnet18", path)
    assert re.search("no safetensors file, or a damaged one .*: fetch it again", message)


def test_an_absent_file_or_folder_is_named(tmp_path):
    assert error_of(models.load_weights, "resnet18", tmp_path / "a") == f"there is no file {tmp_path / 'a'}."
    message = error_of(models.save_weights, "resnet18", tmp_path / "absent" / "a", {})
    assert message == f"there is no folder {tmp_path / 'absent'} to write a to."


def test_variables_of_another_network_are_not_written(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(narrow("resnet18"), path)
    before = path.read_bytes()
    _, variables = models.load_weights("resnet18", path, **NARROW)
    others = {"params": variables["params"], "old": jnp.ones(3)}
    message = error_of(models.save_weights, "resnet18", path, others, **NARROW)
    assert message.startswith("the variables are not those of resnet18:\n  missing (28): batch_stats/conv1/norm/batch/")
    assert "\n  unexpected (1): old" in message
    wider = NARROW | dict(widths=(2, 3, 4, 6))
    message = error_of(models.save_weights, "resnet18", path, variables, **wider)
    assert "params/logits/kernel is [5, 7], not [6, 7]" in message
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
