"""Steps run many in a call, one in a call, or for several networks at once, and come to the same."""

import dataclasses
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import models, runtime
from cnnjax.kernels import choice
from cnnjax.training import Epoch, Settings, TrainConfig, execution, init_states, run_steps, train_step
from tests.training.conftest import assert_equal

KEYS = jax.vmap(jax.random.key)(np.arange(2))
ORDERS = jnp.asarray([np.random.default_rng(seed).permutation(90) for seed in range(2)], jnp.int32)
HYPER = TrainConfig(epochs=4, batch_size=30, learning_rate=0.05).hyper(90)


@pytest.fixture(scope="module")
def spec(spec):
    """A network that no other test has compiled."""
    return dataclasses.replace(spec, model=models.AllConv(num_classes=2, widths=(5, 6), depth=1, head_width=6))


@pytest.fixture(autouse=True)
def _kernels_compute_small_convolutions_too(monkeypatch):
    monkeypatch.setattr(choice, "_LEAST_OPERATIONS", 0)


def run(spec, problem, strengths, *counts):
    """States and metrics of two networks after so many steps, and so many more."""
    images, labels = map(jnp.asarray, problem)
    states, found = init_states(spec, [0, 1], images.shape[1:]), []
    epoch, settings = Epoch(ORDERS, images, labels), Settings(HYPER, strengths)
    for count in counts:
        states, metrics = run_steps(spec, states, count, KEYS, epoch, settings)
        found.append(metrics)
    return states, {name: np.concatenate([metrics[name] for metrics in found], 1) for name in found[0]}


def steps_in_calls(monkeypatch):
    """How many steps each call of a program is for, as they come."""
    real, seen = execution._repeated, []

    def repeated(program, *rest, **stop):
        def called(state, count, *others):
            seen.append(int(count))
            return program(state, count, *others)

        return real(called, *rest, **stop)

    monkeypatch.setattr(execution, "_repeated", repeated)
    return seen


def test_how_steps_are_divided_changes_no_bit(problem, spec, strengths, monkeypatch):
    calls = steps_in_calls(monkeypatch)
    whole = run(spec, problem, strengths, 7)
    assert max(calls) > 1
    assert whole[1]["loss"].shape == (2, 7)
    assert_equal(run(spec, problem, strengths, 2, 1, 4), whole)
    calls.clear()
    monkeypatch.setattr(execution, "_SECONDS", 0.0)
    assert_equal(run(spec, problem, strengths, 7), whole)
    assert set(calls) == {1}


@pytest.mark.parametrize("how", ["several networks at once", "one step in a call"])
def test_every_way_agrees_to_rounding_with_steps_by_themselves(problem, spec, strengths, monkeypatch, how):
    if how == "several networks at once":
        monkeypatch.setattr(execution, "networks_at_once", lambda: 32)
    else:
        monkeypatch.setattr(execution, "_most_steps", lambda *_: 1)
    found, metrics = run(spec, problem, strengths, 3)
    images, labels = map(jnp.asarray, problem)
    settings = Settings(HYPER, strengths)
    for index in range(2):
        epoch = Epoch(ORDERS[index], images, labels)
        state = jax.tree.map(lambda leaf, index=index: leaf[index], init_states(spec, [0, 1], images.shape[1:]))
        for step in range(3):
            state, values = train_step(spec, state, KEYS[index], epoch, settings)
            np.testing.assert_allclose(metrics["loss"][index, step], values["loss"], atol=2e-4, rtol=1e-3)
        mine = jax.tree.map(lambda leaf, index=index: leaf[index], found)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4, rtol=1e-3), mine, state)


def test_where_xla_convolves_steps_are_no_loop(problem, spec, strengths, monkeypatch):
    calls = steps_in_calls(monkeypatch)
    # Of its own, so that nothing is found compiled: the batch of 29 is no other test's.
    other = dataclasses.replace(spec, batch_size=29)
    monkeypatch.setattr(runtime, "_kernels", False)
    run(other, problem, strengths, 3)
    assert calls == [1] * 6


def test_programs_are_traced_where_the_callers_settings_hold(problem, spec, strengths, monkeypatch):
    """JAX's settings, such as the precision of products, may be those of one thread; workers have none of them."""
    real, threads = execution.train_step, set()

    def traced(*arguments):
        threads.add(threading.get_ident())
        return real(*arguments)

    monkeypatch.setattr(execution, "train_step", traced)
    run(dataclasses.replace(spec, batch_size=28), problem, strengths, 2)
    assert threads == {threading.get_ident()}


def test_what_fails_in_one_network_ends_all(problem, spec, strengths, monkeypatch):
    real, begun = execution._repeated, []

    def repeated(program, most, state, count, key, *rest, stop):
        begun.append(stop)
        if jax.random.key_data(key)[-1] == 1:
            raise MemoryError("the second")
        return real(program, most, state, count, key, *rest, stop=stop)

    monkeypatch.setattr(execution, "_repeated", repeated)
    with pytest.raises(MemoryError, match="the second"):
        run(spec, problem, strengths, 3)
    assert begun[0].is_set()
