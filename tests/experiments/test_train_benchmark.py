"""The benchmark of training steps: its peers compute what our networks do, and it goes on where it was."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax.errors import InputError
from cnnjax.runs import read_summary
from tests.repeats import repeated

torch = pytest.importorskip("torch", reason="the benchmark's peer is PyTorch")

from experiments.benchmarks import torch_networks, train  # noqa: E402
from experiments.benchmarks.networks import CASES  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", repeated(["LeNet", "depthwise", "ResNet-20", "ResNet-18", "max pooling"], quick=2))
def test_the_peer_gives_our_logits(name):
    case = CASES[name]
    images = np.random.default_rng(0).random((2, case.side, case.side, case.channels), np.float32)
    network = case.network()
    variables = jax.jit(network.init)(jax.random.key(0), jnp.asarray(images))
    expected = torch_networks.forward_pass(torch_networks.peer(name, variables["params"]), images)()
    logits, _ = jax.jit(network.apply)(variables, jnp.asarray(images))
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["AlexNet", "ResNet-50"])
def test_the_peer_has_the_parameters_of_the_large_networks(name):
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    params = jax.eval_shape(CASES[name].network().init, jax.random.key(0), images)["params"]
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), params)
    network = torch_networks.peer(name, zeros)  # raises for a parameter of another name or shape
    assert not any(parameter.any() for parameter in network.parameters())


def test_every_network_has_a_peer():
    assert list(torch_networks.PEERS) == list(CASES)
    assert train.Config().networks == tuple(CASES)


def test_end_to_end_and_again_without_measuring(tmp_path, monkeypatch):
    monkeypatch.setitem(CASES, "LeNet", dataclasses.replace(CASES["LeNet"], batch=2))
    config = train.Config(networks=("LeNet",), seconds=0.001, compiled=False, out=tmp_path / "run")
    summary = read_summary(train.run(config))
    assert list(summary["pass"]) == ["training step", "forward"]
    assert (summary[["PyTorch median", "XLA median"]].to_numpy() > 0).all()
    table = (tmp_path / "run" / "table.md").read_text(encoding="utf-8")
    assert "geometric mean" in table
    assert "No torch.compile: not asked for." in table

    monkeypatch.setattr(train, "interleave", None)
    train.run(config)
    assert (tmp_path / "run" / "table.md").read_text(encoding="utf-8") == table


def test_programs_that_differ_are_not_timed(tmp_path, monkeypatch):
    monkeypatch.setitem(CASES, "LeNet", dataclasses.replace(CASES["LeNet"], batch=2))
    monkeypatch.setattr(torch_networks.Pixels, "forward", lambda self, images: images)
    with pytest.raises(ArithmeticError, match="LeNet, logits: PyTorch"):
        train.run(train.Config(networks=("LeNet",), seconds=0.001, compiled=False, out=tmp_path / "run"))


@pytest.mark.parametrize(("field", "value"), [("seconds", 0.0), ("threads", -1), ("networks", ())])
def test_bad_options(field, value, tmp_path):
    with pytest.raises(InputError, match=field):
        train.run(train.Config(**{field: value}, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
