"""Networks are called as they ask to be, and what cannot be trained is said in one sentence."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnnjax import InputError, models
from cnnjax.networks.calls import apply_in_training, check_network, evaluation, init
from cnnjax.training import StepSpec

IMAGES = jnp.asarray(np.random.default_rng(0).random((4, 6, 6, 1)), jnp.float32)
KEY = jax.random.key(0)


class Told(nn.Module):
    """What it is told, as the one logit of a class; a parameter beside it."""

    @nn.compact
    def __call__(self, images, train):
        weight = self.param("weight", nn.initializers.ones, (1, 2))
        return jnp.ones((len(images), 1)) * weight * (1.0 if train else -1.0)


class Training(Told):
    @nn.compact
    def __call__(self, images, training=True):
        return super().__call__(images, training), {}


class Deterministic(Told):
    @nn.compact
    def __call__(self, images, *, deterministic=False):
        return {"logits": super().__call__(images, not deterministic)}


class Silent(nn.Module):
    features: int = 2

    @nn.compact
    def __call__(self, images):
        return nn.Dense(self.features)(images.mean((1, 2)))


@pytest.mark.parametrize("kind", [Told, Training, Deterministic])
def test_a_network_is_told_whether_it_trains_by_its_own_word(kind):
    model = kind()
    variables = init(model, KEY, image_shape=(6, 6, 1))
    logits, _ = apply_in_training(model, variables["params"], {}, IMAGES, KEY)
    np.testing.assert_array_equal(logits, np.ones((4, 2)))
    np.testing.assert_array_equal(jax.tree.leaves(evaluation(model)(variables, IMAGES))[0], -np.ones((4, 2)))
    np.testing.assert_array_equal(jax.tree.leaves(models.bind(model, variables)(IMAGES))[0], -np.ones((4, 2)))
    assert check_network(model, (6, 6, 1)) == 2


def test_a_network_that_is_told_nothing_is_called_as_it_is():
    model = Silent()
    assert evaluation(model) == model.apply
    expected = model.init(KEY, IMAGES)
    jax.tree.map(np.testing.assert_array_equal, init(model, KEY, image_shape=(6, 6, 1)), expected)


class Noisy(nn.Module):
    """Numbers of two streams, of which training names one."""

    @nn.compact
    def __call__(self, images, train=False):
        weight = self.param("weight", nn.initializers.ones, (1,))
        if not train:
            return jnp.zeros((len(images), 2))
        draws = [jax.random.uniform(self.make_rng(stream), (len(images),)) for stream in ("dropout", "noise")]
        return jnp.stack(draws, -1) * weight[:, None]


def test_every_stream_of_chance_has_keys_of_its_own():
    logits, _ = apply_in_training(Noisy(), {"weight": jnp.ones(1)}, {}, IMAGES, KEY)
    again, _ = apply_in_training(Noisy(), {"weight": jnp.ones(1)}, {}, IMAGES, KEY)
    other, _ = apply_in_training(Noisy(), {"weight": jnp.ones(1)}, {}, IMAGES, jax.random.key(1))
    np.testing.assert_array_equal(logits, again)
    assert len(np.unique(np.concatenate([logits, other]))) == 16


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.head = nnx.Linear(1, 2, kernel_init=nnx.initializers.zeros_init(), rngs=rngs)

    def __call__(self, images):
        return self.head(images.mean((1, 2)))


class TwoInputs(nn.Module):
    @nn.compact
    def __call__(self, images, masks):
        return images


class Table(nn.Module):
    table: np.ndarray

    def __call__(self, images):
        return images


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Silent, "spec.model=the class Silent is a class, not a network: give an instance of it"),
        (Nnx, r"spec.model=the class Nnx is a class, not a network: give models.from_nnx\(Class, ...\)"),
        (lambda: Nnx(nnx.Rngs(0)), r"has its weights already: give models.from_nnx\(Nnx, ...\), its class and fields"),
        (jnp.tanh, "spec.model=.*tanh.* is not a network: give a Flax Linen module, or models.from_nnx"),
        (None, "spec.model=None is not a network"),
        (TwoInputs(), "spec.model=TwoInputs is called with masks besides images: give that a default"),
        (Table(np.ones(2)), "spec.model=Table has no hash to find what is compiled for it"),
    ],
)
def test_what_is_not_a_network_is_refused_with_what_to_give(model, message, without_type_checks):
    made = model() if getattr(model, "__name__", "") == "<lambda>" else model
    with pytest.raises(InputError, match=message) as error:
        StepSpec(made, "sgd", 2, lambda key, images, strengths: images)
    assert "\n" not in str(error.value)


class Raises(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(2)(images.moon)


class Maps(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Conv(2, (1, 1))(images)


class Words(nn.Module):
    @nn.compact
    def __call__(self, images):
        nn.Dense(2)(images)
        return {"scores": images}


class Fixed(nn.Module):
    @nn.compact
    def __call__(self, images):
        return images.reshape(len(images), -1) @ jnp.ones((9, 2))


class Constant(nn.Module):
    @nn.compact
    def __call__(self, images):
        return images.mean((1, 2))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Raises(), r"Raises cannot take images \(6, 6, 1\), \(height, width, channels\): AttributeError: .*moon"),
        (Fixed(), r"Fixed cannot take images \(6, 6, 1\), \(height, width, channels\): TypeError"),
        (Maps(), r"Maps gives float32 of shape \(2, 6, 6, 2\) for 2 images: expected logits \(images, classes\)"),
        (Words(), "Words returns .*: return logits"),
        (Constant(), "Constant has no parameters: there is nothing to train"),
    ],
)
def test_what_a_network_lacks_is_said_in_one_sentence(model, message):
    with pytest.raises(InputError, match=message) as error:
        check_network(model, (6, 6, 1))
    assert "\n" not in str(error.value)
