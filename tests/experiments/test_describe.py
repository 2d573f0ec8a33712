"""Networks described as JSON and built again."""

import json
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cnnjax import InputError, models
from experiments.borders.red_green import RedGreenNet
from experiments.common.describe import build_described, describe

MODELS = {
    "all_conv": models.all_conv(num_classes=3, widths=(4, 8), activation=nn.gelu, mean=(0.1,), dtype=jnp.bfloat16),
    "resnet": models.resnet20(num_classes=10, padding="circular", downsample="blur", depth=(1, 2, 1)),
    "group": models.group_resnet(num_classes=3, widths=(4, 8)),
    "alexnet": models.alexnet_one_tower(num_classes=5, activation=jax.nn.leaky_relu),
    "alexnet_small": models.alexnet_small(num_classes=10),
    "lenet": models.lenet5(num_classes=10),
    "mlp": models.mlp(num_classes=2, widths=(3,), activation=jnp.tanh),
    "vit": models.vit_tiny(num_classes=2),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_network_comes_back(name):
    described = describe(MODELS[name])
    found = build_described(json.loads(json.dumps(described)))
    drawn = [field for field in type(found).__dataclass_fields__ if field.endswith("_init")]
    assert found.copy(**{field: getattr(MODELS[name], field) for field in drawn}) == MODELS[name]
    assert "parent" not in described["fields"]


def test_networks_of_earlier_runs_are_found_where_they_are_now():
    model = RedGreenNet(padding="circular")
    described = describe(model)
    assert described["class"] == "experiments.borders.red_green:RedGreenNet"
    earlier = described | {"class": "experiments.parts.borders.red_green:RedGreenNet"}
    assert build_described(earlier) == model


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
        ({"class": "os:system", "fields": {}}, "'os:system'.* is no network of this project"),
        ({"class": "cnnjax.files:write_atomic", "fields": {}}, "is no network of this project"),
        ({"class": "cnnjax.models.resnet:ResNot", "fields": {}}, "is no network of this project"),
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
