"""A network of the user's own, by module and class, is options as the library's are."""

import dataclasses
import re
import sys

import flax.linen as nn
import jax
import numpy as np
import pytest

from cnnjax import InputError, models
from cnnjax.data import Dataset
from cnnjax.data.dataset import Split
from cnnjax.runs.settings import to_json
from cnnjax.sweep.describe import build_described, describe
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.own_augmentation import check_augmentation, own_augmentation
from tests.sweep import own_nets

SPLIT = Split(np.zeros((5, 8, 8, 1), np.uint8), np.zeros(5, np.int32))
DATA = Dataset("digits", SPLIT, SPLIT, ("0", "1", "2"), mean=(0.1,), std=(0.3,), margin=0, note="")
HERE = "tests.sweep.own_nets"
LINEN, NNX = f"{HERE}:Linen", f"{HERE}:Nnx"


@dataclasses.dataclass(frozen=True)
class Config:
    network: NetworkConfig = dataclasses.field(default_factory=lambda: NetworkConfig.of("mlp"))


@pytest.fixture
def parsed(parsed_as):
    """The options that a line gives."""
    return parsed_as(Config)


def test_a_linen_class_and_its_fields_are_typed(parsed):
    line = f"--network.name {LINEN} --network.width 5 --network.widths 1 2 --network.rate 0.5 --network.activation tanh"
    config = parsed(line).network
    expected = own_nets.Linen(num_classes=3, width=5, widths=(1, 2), rate=0.5, activation=nn.tanh)
    assert build(config, DATA) == expected
    assert build(parsed(f"--network.name {LINEN} --network.padding VALID").network, DATA).padding == "VALID"
    assert build(NetworkConfig.of(LINEN), DATA) == own_nets.Linen(num_classes=3)
    assert to_json(parsed(line))["network"]["name"] == LINEN
    assert "table" not in to_json(config)


def test_an_nnx_class_and_its_fields_are_typed(parsed):
    model = build(parsed(f"--network.name {NNX} --network.width 2").network, DATA)
    assert model == models.from_nnx(own_nets.Nnx, num_classes=3, image_shape=(8, 8, 1), width=2)


def test_a_module_is_imported_first_where_a_command_names_it(parsed, tmp_path, monkeypatch, capsys):
    (tmp_path / "named_first.py").write_text("import flax.linen as nn\n\nclass Net(nn.Module):\n    width: int = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    parsed("--modules named_first")
    assert build_described({"class": "named_first:Net", "fields": {"width": 4}}).width == 4
    with pytest.raises(SystemExit):
        parsed("--modules nowhere_at_all")
    assert "--modules nowhere_at_all cannot be imported: ModuleNotFoundError" in capsys.readouterr().err


def test_a_field_without_a_default_has_to_be_given(parsed, capsys):
    assert parsed(f"--network.name {HERE}:Needs --network.width 2").network.width == 2
    with pytest.raises(InputError, match=r"network.name=.*:Needs needs network.width: no default is known"):
        NetworkConfig.of(f"{HERE}:Needs")
    with pytest.raises(SystemExit):
        parsed(f"--network.name {HERE}:Needs")
    assert "--network.width" in capsys.readouterr().err


def test_help_is_that_of_the_class(parsed, capsys):
    with pytest.raises(SystemExit):
        parsed(f"--network.name {LINEN} --help")
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--network.width INT Channels. (default: 4)" in shown


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--network.name nowhere_at_all:Net", "network.name=nowhere_at_all:Net: there is no module nowhere_at_all"),
        (f"--network.name {HERE}:Linnen", f"{HERE} has no class Linnen; perhaps Linen?"),
        (f"--network.name {HERE}:brighten", "names the function brighten: it must be a class of a Flax Linen or NNX"),
        ("--network.name my-nets:Net", "'my-nets:Net' is not PACKAGE.MODULE:NAME"),
        (f"--network.name {HERE}:Untypable", "its table has no default, and cannot be typed"),
        (f"--network.name {LINEN} --network.widht 3", "Perhaps you meant.*--network.width"),
        (f"--network.name {LINEN} --network.kernel-size 3", "network.kernel_size has no meaning for"),
    ],
)
def test_what_is_named_wrongly_ends_in_one_line(line, message, parsed, capsys, without_type_checks):
    with pytest.raises(SystemExit) as stopped:
        parsed(line)
    assert stopped.value.code == 2
    assert re.search(message, " ".join(capsys.readouterr().err.replace("│", " ").split()))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (LINEN, {"padding": "SMAE"}, "network.name=.*:Linen: Linen cannot take images"),
        (NNX, {"width": -1}, "network.name=.*:Nnx: "),
        (f"{HERE}:Needs", {"width": 2}, "it has 2 logits, and digits has 3 classes: give it a field num_classes"),
    ],
)
def test_a_network_that_does_not_fit_the_images_is_refused(name, fields, message):
    with pytest.raises(InputError, match=message):
        build(NetworkConfig.of(name, **fields), DATA)


def test_a_kept_network_comes_back_and_nothing_is_imported_for_it(monkeypatch):
    model = build(NetworkConfig.of(NNX, width=2), DATA)
    assert build_described(describe(model)) == model
    monkeypatch.delitem(sys.modules, HERE)
    with pytest.raises(InputError, match=f"no network that is known here: .* import {HERE} before, if you trust it"):
        build_described(describe(model))
    assert HERE not in sys.modules


def test_an_augmentation_of_ones_own_comes_after_the_others():
    own = own_augmentation(f"{HERE}:brighten", "augmentations")
    assert own == own_augmentation(f"{HERE}:brighten", "augmentations")
    check_augmentation(own, "brighten", "augmentations", (8, 8, 1))
    with pytest.raises(InputError, match=r"makes float32 of shape \(2, 7, 8, 1\) of images \(2, 8, 8, 1\)"):
        check_augmentation(own_augmentation(f"{HERE}:smaller", "augmentations"), "cut", "augmentations", (8, 8, 1))
    with pytest.raises(InputError, match=r"augmentations=.*:brihgten: .* has no function brihgten; perhaps brighten"):
        own_augmentation(f"{HERE}:brihgten", "augmentations")
    with pytest.raises(InputError, match="names the class Linen: it must be a function"):
        own_augmentation(LINEN, "augmentations")


def test_an_augmentation_of_ones_own_draws_by_a_key_of_its_own():
    from cnnjax.data import Augmentation

    own, key = own_augmentation(f"{HERE}:brighten", "augmentations"), jax.random.key(0)
    images = np.full((3, 8, 8, 1), 0.25, np.float32)
    made = np.asarray(own(key, jax.numpy.asarray(images), Augmentation().as_arrays()))
    assert (np.ptp(made, axis=(1, 2, 3)) == 0).all()
    assert len({*made[:, 0, 0, 0].tolist()}) == 3
