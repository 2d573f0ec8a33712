"""What users give by mistake to any public function ends in a value or in one line that names the argument."""

import inspect

import flax.linen as nn
import jax
import numpy as np
import pytest

from experiments.benchmarks.wrong_arguments.calls import CALLS
from experiments.benchmarks.wrong_arguments.matrix import counts, public_functions, try_all
from tests.repeats import repeated

FUNCTIONS = public_functions()
OPS = [name for name in CALLS if name.startswith("ops.")]


def test_every_public_function_layer_and_network_has_a_call_to_be_tried():
    kept = {n for n, value in FUNCTIONS.items() if not inspect.isclass(value) or issubclass(value, nn.Module)}
    assert kept - set(CALLS) == {"models.ConvNet"}  # what networks have in common, of which none is made
    assert set(CALLS) - set(FUNCTIONS) == set()


@pytest.mark.parametrize("name", OPS)
def test_lists_are_arrays_to_every_operation(name):
    arrays = CALLS[name]()
    lists = {k: np.asarray(v).tolist() if isinstance(v, jax.Array) else v for k, v in arrays.items()}
    for given, expected in zip(
        jax.tree.leaves(FUNCTIONS[name](**lists)), jax.tree.leaves(FUNCTIONS[name](**arrays)), strict=True
    ):
        np.testing.assert_array_equal(given, expected)


EVERY = {
    "ops.": 9,
    "runs.": 13,
    "stats.": 13,
    "figures.": 13,
    "course.": 1,
    "data.": 23,
    "patches.": 23,
    "jigsaw.": 31,
    "layers.": 61,
    "models.": 83,
    "analysis.": 89,
    "program.": 1,
    "sweep.": 13,
}
"""Of the mistakes in each package, every how many-th is tried; a third of these in quick tests."""


@pytest.mark.parametrize("share", repeated([3, 1]))
@pytest.mark.parametrize(("package", "every"), EVERY.items())
def test_mistakes_end_in_a_value_or_in_one_line(package, every, share, without_type_checks):
    calls = {name: call for name, call in CALLS.items() if name.startswith(package)}
    outcomes = list(try_all(calls, only=lambda number: number % (every * share) == 0))
    print(package, dict(counts(outcomes)))
    assert [outcome for outcome in outcomes if outcome.kind == "other"] == []
    assert [outcome for outcome in outcomes if "\n" in outcome.text] == []
    assert counts(outcomes)["InputError"] > 20 / share
