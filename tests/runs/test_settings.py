"""A configuration goes to JSON without loss, and equal configurations are one run."""

import dataclasses
import enum
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cnnjax import InputError
from cnnjax.runs.settings import identity, readable_id, safe_name, to_json


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Inner:
    name: str
    rate: float
    colour: Colour


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner
    steps: int
    sizes: tuple[int, ...]
    out: Path | None
    label: str | None


finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
inners = st.builds(Inner, name=texts, rate=finite, colour=st.sampled_from(Colour))
configs = st.builds(
    Outer,
    inner=inners,
    steps=st.integers(),
    sizes=st.lists(st.integers(), max_size=4).map(tuple),
    out=st.none() | texts.map(Path),
    label=st.none() | texts,
)


@given(configs)
def test_json_gives_back_every_field(config):
    back = json.loads(json.dumps(to_json(config), allow_nan=False))
    inner = Inner(back["inner"]["name"], back["inner"]["rate"], Colour[back["inner"]["colour"]])
    out = None if back["out"] is None else Path(back["out"])
    assert Outer(inner, back["steps"], tuple(back["sizes"]), out, back["label"]) == config
    assert math.copysign(1, inner.rate) == math.copysign(1, config.inner.rate)


@given(configs, configs)
def test_identities_are_equal_exactly_when_configurations_are(one, other):
    assert (identity(to_json(one)) == identity(to_json(other))) == (one == other)
    assert (readable_id(to_json(one)) == readable_id(to_json(other))) == (one == other)


@given(configs, texts)
def test_identity_does_not_know_what_is_ignored(config, other):
    assume(config.inner.name != other)
    moved = dataclasses.replace(config, out=Path("elsewhere"))
    assert identity(to_json(moved), ["out"]) == identity(to_json(config), ["out"])
    renamed = dataclasses.replace(config, inner=dataclasses.replace(config.inner, name=other))
    assert identity(to_json(renamed), ["inner"]) == identity(to_json(config), ["inner"])
    assert identity(to_json(renamed), ["in"]) != identity(to_json(config), ["in"])  # a name, not a prefix


def test_identity_survives_the_file():
    config = to_json(Outer(Inner("digits", 0.1, Colour.RED), 3, (1, 2), Path("x"), None))
    assert identity(json.loads(json.dumps(config))) == identity(config)
    assert identity(config) == {
        "inner.name": '"digits"',
        "inner.rate": "0.1",
        "inner.colour": '"RED"',
        "steps": "3",
        "sizes": "[1, 2]",
        "out": '"x"',
        "label": "null",
    }


def test_a_whole_float_is_an_int_but_not_a_truth_value():
    assert identity({"rate": 1.0, "sizes": [2.0]}) == identity({"rate": 1, "sizes": [2]})
    assert identity({"rate": True}) != identity({"rate": 1})


def test_id_reads_well_and_is_stable():
    config = to_json(Outer(Inner("digits", 0.1, Colour.RED), 3, (), None, None))
    assert readable_id(config) == "digits-c5eeebd1"


def test_numpy_numbers_are_numbers():
    assert to_json({"n": np.int64(3), "x": np.float32(0.5), "b": np.bool_(True)}) == {"n": 3, "x": 0.5, "b": True}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"inner": {"rate": math.nan}}, r"config\.inner\.rate is nan.*finite"),
        ({"sizes": (1.0, math.inf)}, r"config\.sizes\[1\] is inf"),
        ({"norm": len}, r"config\.norm is <built-in function len>, a builtin_function_or_method"),
        ({"data": b"x"}, r"config\.data is b'x', a bytes"),
    ],
)
def test_what_json_cannot_hold_is_named(value, message):
    with pytest.raises(InputError, match=message):
        to_json(value)


@given(texts, texts)
def test_safe_names_differ_as_their_texts_do(one, other):
    assert (safe_name(one) == safe_name(other)) == (one == other)
    assert 0 < len(safe_name(one)) <= 47
    assert not set(safe_name(one)) & set('/\\:*?"<>| \n\0')
    assert not safe_name(one).startswith(".")
