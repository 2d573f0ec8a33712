"""Networks described as JSON and built again."""

import json
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cnnjax import InputError, layers, models
from cnnjax.sweep.describe import build_described, describe

MODELS = {
    "all_conv": models.AllConv(num_classes=3, widths=(4, 8), activation=nn.gelu, mean=(0.1,), dtype=jnp.bfloat16),
    "resnet": models.resnet20(num_classes=10, padding="circular", downsample="blur", depth=(1, 2, 1)),
    "group": models.group_resnet(num_classes=3, widths=(4, 8)),
    "alexnet": models.alexnet_one_tower(num_classes=5, activation=jax.nn.leaky_relu),
    "alexnet_small": models.alexnet_small(num_classes=10),
    "alias_free": models.AllConv(num_classes=2, downsample="alias_free", activation=layers.alias_free_quadratic),
    "lenet": models.LeNet5(num_classes=10),
    "mlp": models.MLP(num_classes=2, widths=(3,), activation=jnp.tanh),
    "vit": models.vit_tiny(num_classes=2),
    "exact_gelu": models.vgg11(num_classes=2, activation=models.ViT(num_classes=2).activation),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_network_comes_back(name):
    described = describe(MODELS[name])
    found = build_described(json.loads(json.dumps(described)))
    drawn = [field for field in type(found).__dataclass_fields__ if field.endswith("_init")]
    assert found.copy(**{field: getattr(MODELS[name], field) for field in drawn}) == MODELS[name]
    assert "parent" not in described["fields"]


class OfAnExperiment(models.MLP):
    """A network that a researcher's own file defines."""


def test_a_network_of_a_module_that_is_imported_comes_back():
    model = OfAnExperiment(num_classes=2, widths=(3,))
    assert describe(model)["class"] == f"{__name__}:OfAnExperiment"
    assert build_described(describe(model)) == model


def test_a_network_of_a_package_that_is_named_is_imported(tmp_path, monkeypatch):
    (tmp_path / "of_another.py").write_text("import flax.linen as nn\n\nclass Net(nn.Module):\n    width: int = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    description = {"class": "of_another:Net", "fields": {"width": 4}}
    with pytest.raises(InputError, match="no network that is known here"):
        build_described(description)
    assert build_described(description, packages=("of_another",)).width == 4


def test_only_what_differs_is_written():
    assert describe(models.resnet20(num_classes=10))["fields"] == {"num_classes": 10}


def test_a_function_without_a_name_is_refused_when_it_is_read():
    described = describe(models.resnet20(num_classes=10, activation=lambda x: x))
    with pytest.raises(InputError, match="was not written by a name"):
        build_described(described)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (None, "no description of the network beside the weights"),
        ({"class": "os:system", "fields": {}}, "'os:system'.* is no network that is known here"),
        ({"class": "cnnjax.files:write_atomic", "fields": {}}, "is no network that is known here"),
        ({"class": "cnnjax.models.resnet:ResNot", "fields": {}}, "is no network that is known here"),
        ({"class": "cnnjax.models.resnet:ResNet", "fields": {"colour": 1}}, "ResNet is not as it was"),
    ],
)
def test_what_is_no_description(description, message):
    with pytest.raises(InputError, match=message):
        build_described(description)


def test_a_module_of_elsewhere_is_not_imported(monkeypatch):
    monkeypatch.setattr("importlib.import_module", types.SimpleNamespace)  # fails when it is called with a name
    with pytest.raises(InputError, match="is no network"):
        build_described({"class": "elsewhere:Net", "fields": {}})
