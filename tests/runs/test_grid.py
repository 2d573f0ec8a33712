"""The grid is the product over its axes, in order, under names fit for files."""

import dataclasses
import enum
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import InputError
from cnnjax.runs import Cell, grid


class Norm(enum.Enum):
    BATCH = "batch"
    LAYER = "layer"


@dataclasses.dataclass(frozen=True)
class Train:
    learning_rate: float = 0.1
    epochs: int = 3
    norm: Norm = Norm.BATCH


@dataclasses.dataclass(frozen=True)
class Config:
    augmentation: str = "none"
    epochs: int = 7
    flip: bool | None = None
    train: Train = Train()


def test_cells_are_the_product_with_the_last_axis_fastest():
    cells = grid(Config(), {"augmentation": ("none", "crop"), "train.learning_rate": [0.1, 0.01, 1e-05]})
    assert [(c.config.augmentation, c.config.train.learning_rate) for c in cells] == list(
        itertools.product(("none", "crop"), (0.1, 0.01, 1e-05))
    )
    assert cells[-1] == Cell(
        "augmentation=crop,learning_rate=1e-05",
        {"augmentation": "crop", "train.learning_rate": 1e-05},
        Config("crop", train=Train(1e-05)),
    )


def test_fields_that_do_not_vary_are_kept():
    (cell,) = grid(Config(epochs=9, train=Train(epochs=4)), {"train.norm": [Norm.LAYER]})
    assert cell.name == "norm=LAYER"
    assert cell.config == Config(epochs=9, train=Train(epochs=4, norm=Norm.LAYER))


def test_no_axes_give_one_cell():
    config = Config()
    assert grid(config, {}) == [Cell("base", {}, config)]


def test_axes_of_the_same_last_name_keep_their_whole_names():
    (cell,) = grid(Config(), {"epochs": [1], "train.epochs": [2]})
    assert cell.name == "epochs=1,train.epochs=2"


def test_truth_values_and_none_read_as_such():
    assert [c.name for c in grid(Config(), {"flip": [True, False, None]})] == ["flip=true", "flip=false", "flip=none"]


@given(st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=6, unique_by=str.casefold))
def test_names_are_file_names_and_differ(values):
    names = [cell.name for cell in grid(Config(), {"augmentation": values})]
    assert len({name.casefold() for name in names}) == len(values)
    for name in names:
        assert re.fullmatch(r"augmentation=[A-Za-z0-9._+-]{1,50}", name)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"augmentatoin": ["crop"]}, "axis='augmentatoin' is unknown; .*perhaps you meant augmentation"),
        ({"train.learningrate": [1.0]}, "perhaps you meant train.learning_rate"),
        ({"zzz": [1]}, "use one of augmentation, epochs, flip, train, train.learning_rate"),
        ({"augmentation": []}, "'augmentation' has no values"),
        ({"augmentation": None}, "'augmentation' is None; give a sequence of values"),
        ({"augmentation": 1.0}, "'augmentation' is 1.0; give a sequence of values"),
        ({"augmentation": "crop"}, r"the text 'crop'.*\('crop',\)"),
        ({"augmentation": ["crop", "none", "Crop"]}, "'crop' more than once"),
        ({"train": [Train()], "train.epochs": [1]}, "'train' and 'train.epochs' overwrite each other"),
    ],
)
def test_refusals_name_the_value_and_the_remedy(axes, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        grid(Config(), axes)
