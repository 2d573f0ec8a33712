"""A small fixed part of the trials of faults: every one ends in the right result, or is refused."""

import dataclasses
import random

import pytest

from cnnjax import runtime
from experiments import augmentation
from experiments.benchmarks import faults


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    runtime.configure()
    out = tmp_path_factory.mktemp("faults") / "whole"
    return faults.quietly(lambda: augmentation.run(dataclasses.replace(faults.TINY, out=out)))


@pytest.mark.parametrize(("kind", "trials"), [(faults.damages, 6), (faults.images, 20), (faults.options, 100)])
def test_no_fault_ends_otherwise(whole, tmp_path, kind, trials, without_type_checks):
    count = kind(whole, tmp_path, random.Random(0), trials)
    assert count.first == ""
    assert (count.trials, count.other) == (count.refused + count.right, 0)
    assert count.refused > 0
    assert count.trials >= trials
