"""An NNX network as a Linen module is the network that NNX makes of the same key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnnjax import InputError, models

IMAGES = jnp.asarray(np.random.default_rng(0).random((4, 6, 6, 1)), jnp.float32)
KEY = jax.random.key(3)


class Net(nnx.Module):
    """A convolution, statistics of the batch, dropout and a head; one layer is in a list."""

    def __init__(self, width=4, drop=0.5, *, num_classes=3, rngs):
        self.convs = nnx.List([nnx.Conv(1, width, (3, 3), rngs=rngs)])
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(drop, rngs=rngs)
        self.head = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, images):
        conv = nnx.relu(self.norm(self.convs[0](images)))
        return self.head(self.dropout(conv.mean((1, 2)))), {"stem": conv, "conv": conv + 1}


def alone(**fields):
    """The network by NNX itself."""
    return Net(**fields, rngs=nnx.Rngs(KEY))


MODEL = models.from_nnx(Net, width=2)
VARIABLES = MODEL.init(KEY, IMAGES)


def by_path(network, kind):
    return {
        "/".join(map(str, path)): np.asarray(variable[...])
        for path, variable in nnx.to_flat_state(nnx.state(network, kind))
    }


def flat(tree):
    found = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in found}


def test_its_variables_are_those_that_the_class_draws():
    drawn = nnx.state(Net(width=2, rngs=nnx.Rngs(0)), nnx.Param)
    assert flat(VARIABLES["params"]).keys() == by_path(alone(width=2), nnx.Param).keys()
    assert {name: leaf.shape for name, leaf in flat(VARIABLES["params"]).items()} == {
        "/".join(map(str, path)): variable[...].shape for path, variable in nnx.to_flat_state(drawn)
    }
    assert set(VARIABLES) == {"params", "batch_stats"}
    other = MODEL.init(jax.random.key(4), IMAGES)
    assert not np.array_equal(other["params"]["head"]["kernel"], VARIABLES["params"]["head"]["kernel"])


def with_numbers(network):
    """The NNX network with the numbers of `VARIABLES`."""
    values = flat(VARIABLES["params"]) | flat(VARIABLES["batch_stats"])
    for path, variable in nnx.to_flat_state(nnx.state(network, (nnx.Param, nnx.BatchStat))):
        variable[...] = jnp.asarray(values["/".join(map(str, path))])
        nnx.update(network, nnx.from_flat_state([(path, variable)]))
    return network


def test_it_computes_what_nnx_computes_in_evaluation():
    network = with_numbers(alone(width=2))
    network.eval()
    expected, layers = network(IMAGES)
    logits, activations = models.bind(MODEL, VARIABLES)(IMAGES)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert list(activations) == ["stem", "conv"]
    np.testing.assert_allclose(activations["stem"], layers["stem"], rtol=1e-5, atol=1e-6)


def test_in_training_statistics_move_as_those_of_nnx_and_dropout_follows_the_key():
    network = with_numbers(alone(width=2))
    network.train()
    network(IMAGES)

    def trained(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return MODEL.apply(VARIABLES, IMAGES, train=True, mutable=["batch_stats"], rngs=rngs)

    ((logits, _), after), ((again, _), _), ((other, _), _) = trained(0), trained(0), trained(1)
    expected, found = by_path(network, nnx.BatchStat), flat(after["batch_stats"])
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(found["norm/mean"], VARIABLES["batch_stats"]["norm"]["mean"])
    np.testing.assert_array_equal(logits, again)
    assert not np.array_equal(logits, other)


def test_networks_of_one_class_and_fields_are_equal():
    assert models.from_nnx(Net, width=2) == MODEL
    assert hash(models.from_nnx(Net, width=2)) == hash(MODEL)
    assert models.from_nnx(Net, width=3) != MODEL


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (lambda: Net(rngs=nnx.Rngs(0)), {}, r"make is a network of Net with weights: give models.from_nnx\(Net, ...\)"),
        (lambda: jnp.tanh, {}, "must be a class of nnx.Module"),
        (lambda: Net, {"widht": 3}, "make=Net does not take rngs and these fields: .*widht"),
        (lambda: Net, {"width": "wide"}, "make=Net cannot be made with {'width': 'wide'}: "),
    ],
)
def test_what_no_network_can_be_made_of_is_refused(make, fields, message):
    with pytest.raises(InputError, match=message) as error:
        models.from_nnx(make(), **fields)
    assert "\n" not in str(error.value)
