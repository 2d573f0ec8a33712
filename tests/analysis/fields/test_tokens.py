"""Maps of tokens against reshaping by hand, and analyses of them against the same edits of the tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from cnnjax import InputError, models, ops
from cnnjax.analysis import grad_cam, intervene, lie_attribution, project, receptive_field, token_maps, top_activations

RNG = np.random.default_rng(0)
PATCH, MIX, HEAD = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in ((4, 4, 3, 6), (6, 6), (6, 3)))
REGISTERS = jnp.asarray(RNG.normal(size=(1, 2, 6)), jnp.float32)
IMAGES = RNG.uniform(size=(2, 16, 24, 3)).astype(np.float32)


def attend(tokens):
    weights = jax.nn.softmax(jnp.einsum("bic,bjc->bij", tokens @ MIX, tokens))
    return tokens + jnp.einsum("bij,bjc->bic", weights, tokens)


def patch(images):
    return ops.conv(images, PATCH, stride=4, padding="valid")


def listed(maps):
    return maps.reshape(len(maps), -1, 6)


def patches(images):
    maps = patch(images)
    return maps, listed(maps)


def transformer(images, before=2, after=1):
    """Tokens of patches between others, attended to twice; the first one is read."""
    maps, tokens = patches(images)
    one = jnp.broadcast_to(REGISTERS, (len(maps), 2, 6))
    tokens = jnp.concatenate([one[:, :before], tokens, one[:, :after]], axis=1)
    first = attend(tokens)
    second = attend(first)
    return second[:, 0] @ HEAD, {"maps": maps, "first": first, "second": second}


def by_hand(tokens, before=2, rows=4, columns=6):
    return np.asarray(tokens)[:, before : before + rows * columns].reshape(-1, rows, columns, tokens.shape[-1])


@pytest.mark.parametrize(("before", "after"), [(2, 1), (0, 0)])
def test_tokens_of_patches_between_others_become_the_map_of_the_patches(before, after):
    def f(images):
        return transformer(images, before, after)

    logits, activations = jax.jit(f)(IMAGES)
    seen_logits, seen = jax.jit(token_maps(f))(IMAGES)
    np.testing.assert_allclose(seen_logits, logits, rtol=1e-5)
    np.testing.assert_array_equal(seen["maps"], activations["maps"])
    for name in ("first", "second"):
        np.testing.assert_allclose(seen[name], by_hand(activations[name], before), rtol=1e-4, atol=1e-6)


def test_blocks_of_a_vision_transformer_become_maps():
    model = models.ViT(num_classes=3, width=8, depth=2, heads=2, patch_size=4)
    variables = jax.jit(model.init)(jax.random.key(0), IMAGES)
    (logits, activations), (seen_logits, seen) = jax.jit(
        lambda v, x: (model.apply(v, x), token_maps(Partial(model.apply, v))(x))
    )(variables, IMAGES)
    np.testing.assert_allclose(seen_logits, logits, atol=1e-6)
    for name in ("block1", "block2"):
        np.testing.assert_allclose(seen[name], by_hand(activations[name], before=1), atol=1e-5)
    assert {name: a.shape for name, a in seen.items() if a.ndim < 4} == {"pool": (2, 8), "logits": (2, 3)}


def test_merged_patches_have_a_grid_half_as_fine():
    def merging(images):
        maps, tokens = patches(images)
        mixed = attend(tokens)
        maps = mixed.reshape(len(mixed), 4, 6, 6)
        merged = jnp.concatenate([maps[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=-1)
        return {"mixed": mixed, "merged": jax.nn.relu(merged.reshape(len(mixed), 6, 24))}

    tokens, seen = jax.jit(lambda x: (merging(x), token_maps(merging)(x)))(IMAGES)
    np.testing.assert_allclose(seen["mixed"], by_hand(tokens["mixed"], 0), atol=1e-5)
    np.testing.assert_allclose(seen["merged"], by_hand(tokens["merged"], 0, 2, 3), atol=1e-5)


def test_a_grid_that_is_given_is_taken():
    def normalised(images):
        # What is normalised over the image reads all of it: no token shows where it lies.
        maps = patch(images)
        return {"tokens": attend(listed(maps / maps.std((1, 2), keepdims=True))), "vector": maps.mean((1, 2))}

    with pytest.raises(InputError, match=r"activation tokens has 24 tokens.*grid=\(rows, columns\)"):
        token_maps(normalised)(IMAGES)
    with pytest.raises(InputError, match="in a grid of 5 × 5"):
        token_maps(normalised, grid=(5, 5))(IMAGES)
    seen = jax.eval_shape(token_maps(normalised, grid=(4, 6)), IMAGES)
    assert {name: a.shape for name, a in seen.items()} == {"tokens": (2, 4, 6, 6), "vector": (2, 6)}


def test_tokens_in_another_order_are_not_taken_for_rows():
    def columns_first(images):
        return listed(patch(images).transpose(0, 2, 1, 3))

    def turned(images):
        tokens = listed(patch(images))
        return attend(attend(tokens)[:, ::-1] + tokens[:, ::-1])

    for f in (columns_first, turned):
        with pytest.raises(InputError, match="activation output has 24 tokens"):
            token_maps(f)(IMAGES)


def test_maps_stay_as_they_are():
    def convolution(images):
        return {"maps": patches(images)[0], "window": images.reshape(-1, 16, 3)}

    seen = jax.eval_shape(token_maps(convolution), IMAGES)
    assert {name: a.shape for name, a in seen.items()} == {"maps": (2, 4, 6, 6), "window": (48, 16, 3)}


def test_edits_of_the_map_are_edits_of_the_tokens():
    def on_tokens(name, a):
        return a.at[:, 2 + 6 : 2 + 12].set(0) if name == "first" else a

    def on_maps(name, a):
        return a.at[:, 1].set(0) if name == "first" else a

    expected = jax.jit(intervene(transformer, on_tokens))(IMAGES)[0]
    found = jax.jit(intervene(token_maps(transformer), on_maps))(IMAGES)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.slow
def test_analyses_take_the_maps():
    f = token_maps(Partial(transformer))
    fields = receptive_field(f, IMAGES)[1]
    assert (fields["maps"].size, fields["maps"].stride) == ((4, 4), (4, 4))
    assert fields["first"].size == (16, 24)
    shares = {name: of.share for name, of in lie_attribution(f, IMAGES, "translation_x", layer="0").items()}
    assert sum(shares.values()) == pytest.approx(1)
    # The patches are read again, by the register that the scores come from; those of the last block are not.
    assert abs(shares["first"]) > 1e-3
    assert shares["second"] == 0
    cam = grad_cam(f, IMAGES, "first", 1, output="0", resize=False)
    assert cam.maps.shape == (2, 4, 6, 1)
    gradient = jax.grad(lambda t: (attend(t)[:, 0] @ HEAD)[:, 1].sum())
    tokens = transformer(IMAGES)[1]["first"]
    weights = by_hand(gradient(tokens)).mean((1, 2), keepdims=True)
    expected = np.maximum((weights * by_hand(tokens)).sum(-1, keepdims=True), 0)
    np.testing.assert_allclose(cam.maps, expected, rtol=1e-3, atol=1e-5)
    maps = by_hand(tokens)
    top = top_activations(f, IMAGES, "first", k=1, rule=None)
    np.testing.assert_allclose(top.values[:, 0], maps.max((0, 1, 2)), rtol=1e-4)
    places = [np.unravel_index(maps[top.images[c, 0], :, :, c].argmax(), (4, 6)) for c in range(6)]
    np.testing.assert_array_equal(top.places[:, 0], places)
    picture = project(f, IMAGES[0], "first", (1, 3, 2), rule="gradient")
    image = jnp.asarray(IMAGES[:1])
    slope = jax.jit(jax.grad(lambda x: transformer(x)[1]["first"][0, 2 + 6 + 3, 2]))(image)
    np.testing.assert_allclose(picture.pictures[0], slope[0] * maps[0, 1, 3, 2], rtol=1e-3, atol=1e-5)
