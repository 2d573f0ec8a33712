"""Arrays go by their keys where these are their own, and by their paths otherwise."""

from typing import NamedTuple

import jax.numpy as jnp
import pytest

from cnnjax import InputError
from cnnjax.program.dataflow import Dataflow
from cnnjax.program.names import by_name, leaf_names, named
from cnnjax.program.tracing import program_of

X = jnp.ones(2)


class Pair(NamedTuple):
    first: object
    second: object


def names_of(f):
    program, result = program_of(f, X)
    return [name for name, _ in named(result, Dataflow(program)).values()]


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        (X, ["output"]),
        ((X, {"conv1": X, "block": {"conv1": X}}), ["0", "1/block/conv1", "1/conv1"]),
        (Pair(X, [X, None, X]), ["first", "second/0", "second/2"]),
        ([], []),
    ],
)
def test_paths(tree, names):
    assert leaf_names(tree) == names


def test_activations_are_called_by_key_in_the_order_of_computation():
    def f(x):
        b = jnp.sin(x)
        a = jnp.cos(b)
        return a * 2, {"a": a, "b": b}

    # The keys of a dict are sorted in its leaves, and what is computed is not.
    assert names_of(f) == ["b", "a", "0"]


def test_one_that_is_returned_twice_goes_by_the_longer_path():
    def f(x):
        logits = jnp.sin(x)
        return logits, {"logits": logits}

    assert names_of(f) == ["logits"]


def test_a_key_that_two_have_is_none_of_its_own():
    assert names_of(lambda x: ({"y": jnp.sin(x)}, {"y": jnp.cos(x), "z": jnp.tan(x)})) == ["0/y", "1/y", "z"]


def test_the_only_array():
    assert names_of(jnp.sin) == ["output"]


def test_names_that_cannot_be_told_apart_are_refused():
    # The key "1/y" of the first and the path to the second.
    with pytest.raises(InputError, match="both be called '1/y'"):
        names_of(lambda x: {"1/y": jnp.sin(x), "1": {"y": jnp.cos(x)}})


def test_entries_are_found_by_key_or_by_path():
    found = by_name((1, {"conv1": 2, "block": {"conv1": 3, "conv2": 4}}))
    assert found == {"0": 1, "1/block/conv1": 3, "conv2": 4, "1/conv1": 2}
    assert by_name(5) == {"output": 5}
    with pytest.raises(InputError, match="two activations would both be called"):
        by_name({"a/b": 1, "a": {"b": 2}})
