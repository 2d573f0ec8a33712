"""How activations hang together, on functions of which it is plain."""

import jax
import jax.numpy as jnp

from cnnjax import ops
from cnnjax.program.structure import Product, Structure

IMAGES = jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.float32)


def links(f, *args):
    return {link.name: link for link in Structure(f, *args, IMAGES).links()}


def kernel(size, channels, features):
    return jnp.ones((size, size, channels, features))


def test_a_chain_names_what_each_activation_is_made_of_and_by_which_products():
    def f(x):
        a = jax.nn.relu(ops.conv(x, kernel(3, 4, 6), stride=2))
        b = ops.conv(a, kernel(1, 3, 8), groups=2)
        c = b.reshape(1, -1) @ jnp.ones((128, 10)) + 1
        return c, {"a": a, "b": b, "c": c}

    found = links(f)
    assert [(name, link.reads) for name, link in found.items()] == [("a", ("images",)), ("b", ("a",)), ("c", ("b",))]
    assert found["a"].products == (Product("convolution", (3, 3), (2, 2), 1, 216),)
    assert found["b"].products == (Product("convolution", (1, 1), (1, 1), 2, 24),)
    assert found["c"].products == (Product("dense", (), (), 1, 1280),)
    assert [str(product) for link in found.values() for product in link.products] == [
        "3×3 / 2",
        "1×1, 2 groups",
        "dense",
    ]
    assert not any(link.shortcut for link in found.values())


def test_a_sum_of_a_longer_and_a_shorter_way_is_a_shortcut_and_others_are_none():
    def residual(x):
        return {"block": x + ops.conv(jax.nn.relu(ops.conv(x, kernel(3, 4, 4))), kernel(3, 4, 4))}

    def inception(x):
        return {"sum": ops.conv(x, kernel(1, 4, 4)) + ops.conv(x, kernel(3, 4, 4))}

    def far(x):
        a = ops.conv(x, kernel(3, 4, 4))
        b = ops.conv(a, kernel(3, 4, 4))
        return {"a": a, "b": b, "c": a + jax.nn.relu(b)}

    assert links(residual)["block"].shortcut
    assert not links(inception)["sum"].shortcut
    assert links(far)["c"].reads == ("a", "b")
    assert not links(far)["c"].shortcut  # it lies between activations that are returned


def test_parameters_are_no_images():
    def f(weights, x):
        return {"y": ops.conv(x, weights) + weights.sum()}

    (link,) = Structure(f, kernel(3, 4, 2), IMAGES).links()
    assert (link.reads, len(link.products), link.shortcut) == (("images",), 1, False)


def test_the_parts_of_a_layer_are_its_operations_with_what_each_waits_for():
    def block(x):
        a = ops.conv(x, kernel(3, 4, 4)) + 1  # the one that is returned
        y = jax.nn.relu(ops.conv(a, kernel(3, 4, 8), stride=2) * jnp.arange(8.0).reshape(1, 1, 1, 8))
        y = ops.conv(y, kernel(3, 8, 8))
        return {"a": a, "block": jnp.tanh(y + ops.conv(a, kernel(1, 4, 8), stride=2))}

    parts = Structure(block, IMAGES).parts("block")
    labels = [part.label for part in parts]
    assert sorted(labels) == sorted(["3×3 / 2", "normalisation", "ReLU", "3×3", "1×1 / 2", "+", "tanh"])
    at = {label: number for number, label in enumerate(labels)}
    assert parts[at["+"]].reads == tuple(sorted((at["3×3"], at["1×1 / 2"])))
    assert parts[at["1×1 / 2"]].reads == parts[at["3×3 / 2"]].reads == (-1,)
    assert parts[at["ReLU"]].reads == (at["normalisation"],)
    assert parts[at["3×3"]].weights == 3 * 3 * 8 * 8
