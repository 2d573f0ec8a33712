"""Numbers that make no sense, or are more than any machine can do, are refused in one line before any work."""

import dataclasses
import importlib
import typing

import pytest

from cnnjax import InputError
from cnnjax.data import DataConfig
from cnnjax.runs import Progress
from cnnjax.runs.cli import check_numbers
from cnnjax.sweep.catalogue import CLASSES
from cnnjax.sweep.images import check_moves, load_images
from cnnjax.sweep.network import NetworkConfig, prove_size
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.sweep.ranges import RANGES, check_named, check_ranges
from cnnjax.training import TrainConfig
from experiments import alexnet, augmentation, depth, jigsaw, receptive_field, visualise
from experiments.modules import experiments
from tests.sweep import tiny_sweep

pytestmark = pytest.mark.usefixtures("without_type_checks")

CHECKED_ELSEWHERE = {
    *("examples", "learning_rate", "drops", "warmup", "weight_decay", "label_smoothing"),  # by TrainConfig
    *("seed", "rectangle", "polygon", "unit"),  # any number, or those inside the image
    *("signal", "window"),  # at most 12 for a legible picture
    *("seconds", "threads", "pairs", "repeats", "sample"),  # of benchmarks
}


def numbers(config):
    """The numeric fields of a config and of those within it, with an example of each."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from numbers(value)
        elif {int, float} & set(flat(typing.get_type_hints(type(config))[field.name])):
            yield config, field.name


def flat(kind):
    return [kind, *(part for inner in typing.get_args(kind) for part in flat(inner))]


CONFIGS = {
    module.name: importlib.import_module(module.name).Config()
    for module in experiments()
    if hasattr(importlib.import_module(module.name), "Config")
}


def refuse(config):
    """As a command line does, and then the experiment."""
    check_numbers(config)
    check_ranges(config)


def test_every_experiment_that_has_seeds_or_draws_has_a_first_one():
    for name, config in CONFIGS.items():
        names = {field.name for field in dataclasses.fields(config)}
        if ".benchmarks." not in name:  # which time
            assert ("seeds" in names) == ("first_seed" in names), name
            assert ("draws" in names) == ("first_draw" in names), name


def test_every_numeric_option_of_every_experiment_has_a_range():
    configs = [*CONFIGS.values(), *map(NetworkConfig.of, CLASSES)]
    named = {name for config in configs for _, name in numbers(config)}
    assert len(named) > 50
    assert named - set(RANGES) - CHECKED_ELSEWHERE == set()


@pytest.mark.parametrize("name", CONFIGS)
def test_defaults_and_presets_are_in_range(name):
    module = importlib.import_module(name)
    for config in [CONFIGS[name], *(getattr(module, other) for other in ("PAPER", "GRID") if hasattr(module, other))]:
        check_ranges(config)


def test_what_is_out_of_range_names_the_option_and_the_bound():
    tried = 0
    for config in CONFIGS.values():
        for owner, name in numbers(config):
            for wrong in (2**63, -(2**63), 1e-320, float("nan"), float("inf"), -1e300):
                kind = typing.get_type_hints(type(owner))[name]
                value = (wrong,) if "tuple" in str(kind) else wrong
                bad = object.__new__(type(owner))
                for field in dataclasses.fields(owner):
                    object.__setattr__(bad, field.name, value if field.name == name else getattr(owner, field.name))
                with pytest.raises(InputError, match=name.replace("_", ".")):
                    refuse(bad)
                tried += 1
    assert tried > 500


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: augmentation.Config(strengths=(2,)), r"strengths=\(2,\) must be at most 1"),
        (lambda: augmentation.Config(rotation=1000.0), "rotation=1000.0 must be at most 360"),
        (lambda: alexnet.Config(dropout=2.0), "dropout=2.0 must be at most 1"),
        (lambda: depth.Config(moments=10**9), "moments=1000000000 must be at most 1000"),
        (
            lambda: augmentation.Config(network=NetworkConfig.of("resnet", residual="no")),
            "network.residual='no' must be True or False",
        ),
        (lambda: jigsaw.Config(rotate="false"), "rotate='false' must be True or False"),
        (lambda: augmentation.Config(flip="0.5"), "flip='0.5' must be a number from 0 to 1"),
        (lambda: augmentation.Config(seeds=True), "seeds=True must be a number"),
        (lambda: visualise.Config(crop=10**6), "crop=1000000 must be at most"),
    ],
)
def test_values_that_make_no_sense(make, message):
    with pytest.raises(InputError, match=message):
        check_ranges(make())


def test_an_option_that_names_nothing():
    config = augmentation.Config(augmentations=(), strengths=())
    check_named(config, "architectures")
    with pytest.raises(InputError, match=r"^augmentations is empty: .* one of none, crop, rotation, both\.$"):
        check_named(config, "augmentations")
    with pytest.raises(InputError, match=r"^strengths is empty: name at least one\.$"):
        check_named(config, "strengths")
    with pytest.raises(
        InputError, match=r"^protocol\.orbits is empty: name at least one of shift_zero, shift_circular"
    ):
        ProtocolConfig(orbits=())


def test_a_protocol_of_too_many_transforms():
    for fields, message in (({"rotation_step": 1e-320}, "rotation_step=1e-320"), ({"max_shift": 10**6}, "max_shift=")):
        with pytest.raises(InputError, match=rf"protocol\.{message}.* must be at (least|most)"):
            ProtocolConfig(**fields)


def test_what_takes_more_memory_than_there_is(tmp_path):
    with pytest.raises(InputError, match=r"side=1000000 takes about 1.86e\+05 GiB of memory, .* give a smaller one"):
        receptive_field.run(receptive_field.Config(side=1_000_000, out=tmp_path / "run"))
    with pytest.raises(InputError, match=r"training the network all_conv of .* GiB of memory.* give smaller widths"):
        prove_size(tiny_sweep.models.MLP(num_classes=3, widths=(2**16, 2**16)), tiny_sweep.dataset(), name="all_conv")
    with pytest.raises(InputError, match=r"data.train_images=100000000 .* give fewer or smaller ones"):
        load_images(DataConfig(name="shapes", train_images=10**8, canvas=1000), Progress(1))
    with pytest.raises(InputError, match=r"train\.epochs=1000000 are .* steps: give fewer"):
        TrainConfig(epochs=10**6, batch_size=1).total_steps(10**4)
    assert not (tmp_path / "run").exists()


def test_a_move_out_of_the_frame():
    check_moves(tiny_sweep.dataset(), crop=5)
    with pytest.raises(InputError, match="crop=100 moves images of 6 pixels out of sight: give less than 6"):
        check_moves(tiny_sweep.dataset(), crop=100)
