"""The vision transformer against published counts, PyTorch's encoder layer and the symmetries of attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import pixels

from cnnjax import InputError
from cnnjax.models.vit import EncoderBlock, ViT, attention, vit_tiny
from tests.drawn import KEY


def tiny(**fields):
    return ViT(**{"num_classes": 3, "width": 12, "depth": 2, "heads": 3, **fields})


def drawn(module, x, **keywords):
    """Variables of the shapes that the module asks for, none of them at its initial value."""
    shapes = jax.eval_shape(lambda x: module.init(KEY, x, **keywords), x)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.5, leaf.dtype), shapes)


@functools.cache
def program(model, train):
    return jax.jit(lambda variables, x, key: model.apply(variables, x, train=train, rngs={"dropout": key}))


def run(model, variables, images, *, train=False, seed=0):
    return program(model, train)(variables, images, jax.random.fold_in(KEY, seed))


def parameters(model, side):
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, KEY, images)))


def test_vit_tiny_has_the_parameters_of_deit_tiny():
    # Touvron et al. 2021, table 1 ("5M"); their published weights hold exactly so many.
    assert parameters(vit_tiny(num_classes=1000, patch_size=16), 224) == 5_717_416


@pytest.mark.parametrize("side", [28, 32, 64])
def test_parameters_at_small_sizes_differ_in_patches_and_positions_alone(side):
    blocks = 12 * (4 * 192 * (192 + 1) + (192 + 1) * 768 + (768 + 1) * 192 + 4 * 192)
    ends = (4 * 4 * 3 + 1) * 192 + ((side // 4) ** 2 + 2) * 192 + 2 * 192 + (192 + 1) * 10
    assert parameters(vit_tiny(num_classes=10), side) == blocks + ends


def test_activations_come_in_forward_order_and_end_in_the_logits():
    def traced(key):
        logits, activations = tiny().init_with_output(key, jnp.ones((2, 8, 12, 1)))[0]
        assert activations["logits"] is logits
        return [(name, value.shape) for name, value in activations.items()]  # before `jit` sorts the names

    found = []
    jax.eval_shape(lambda key: found.extend(traced(key)), KEY)
    assert found == [
        ("patches", (2, 2, 3, 12)),
        ("block1", (2, 7, 12)),
        ("block2", (2, 7, 12)),
        ("pool", (2, 12)),
        ("logits", (2, 3)),
    ]


def test_a_patch_is_one_linear_map_of_its_standardised_pixels_and_a_position():
    model, images = tiny(mean=(0.2, 0.6), std=(0.5, 0.25)), pixels(2, 8, 12, 2)
    variables = drawn(model, images)
    params = jax.tree.map(np.asarray, variables["params"])
    x = (np.asarray(images) - np.array([0.2, 0.6])) / np.array([0.5, 0.25])
    expected = np.empty((2, 2, 3, 12))
    for row in range(2):
        for column in range(3):
            patch = x[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].reshape(2, -1)
            expected[:, row, column] = patch @ params["patches"]["kernel"].reshape(-1, 12) + params["patches"]["bias"]
    _, activations = run(model, variables, images)
    np.testing.assert_allclose(activations["patches"], expected + params["positions"], rtol=1e-4, atol=1e-4)


def test_permuting_patches_together_with_their_positions_changes_no_logit():
    model, images = tiny(), pixels(2, 8, 12, 1)
    variables = drawn(model, images)
    order = np.random.default_rng(0).permutation(6)
    cut = np.asarray(images).reshape(2, 2, 4, 3, 4, 1).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 4, 4, 1)
    shuffled = cut[:, order].reshape(2, 2, 3, 4, 4, 1).transpose(0, 1, 3, 2, 4, 5).reshape(2, 8, 12, 1)
    positions = variables["params"]["positions"]
    moved = {"params": {**variables["params"], "positions": positions.reshape(6, -1)[order].reshape(positions.shape)}}
    logits, activations = run(model, variables, images)
    again, activations_again = run(model, moved, shuffled)
    np.testing.assert_allclose(again, logits, rtol=1e-4, atol=1e-4)
    tokens = activations["block1"][:, 1:][:, order]
    np.testing.assert_allclose(activations_again["block1"][:, 1:], tokens, rtol=1e-4, atol=1e-4)
    only_pixels = run(model, variables, shuffled)[0]
    assert np.abs(only_pixels - logits).max() > 1e-2


def test_gradients_reach_every_parameter_but_the_bias_of_keys():
    model, images = tiny(depth=1, dropout=0.1, survival=0.9), pixels(4, 8, 8, 3)
    variables = drawn(model, images)

    def loss(variables):
        logits, _ = model.apply(variables, images, train=True, rngs={"dropout": KEY})
        return -jax.nn.log_softmax(logits)[:, 0].mean()

    for path, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables)):
        name = jax.tree_util.keystr(path)
        if name.endswith("['key']['bias']"):  # it adds the same to all scores of a query, which softmax ignores
            np.testing.assert_allclose(gradient, 0, atol=1e-6)
        else:
            assert np.abs(gradient).max() > 1e-5, name


def test_attention_is_a_mean_of_values_weighted_by_softmax():
    rng = np.random.default_rng(0)
    query, key, value = (rng.normal(size=(2, 5, 3, 4)) for _ in range(3))
    expected = np.empty_like(value)
    for b, h, i in np.ndindex(2, 3, 5):
        weights = np.exp(key[b, :, h] @ query[b, i, h] / 2)
        expected[b, i, h] = weights @ value[b, :, h] / weights.sum()
    with jax.enable_x64(True):
        result = attention(*map(jnp.asarray, (query, key, value)))
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_a_block_is_pytorchs_encoder_layer():
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
    torch.set_num_threads(1)
    width, heads, x = 12, 3, np.random.default_rng(1).normal(size=(2, 5, 12)).astype(np.float32)
    block = EncoderBlock(heads)
    variables = drawn(block, x, train=False)
    params = jax.tree.map(np.array, variables["params"])
    theirs = torch.nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    projections = [params["attention"][name] for name in ("query", "key", "value")]
    weights = {
        "self_attn.in_proj_weight": np.concatenate([p["kernel"].reshape(width, width).T for p in projections]),
        "self_attn.in_proj_bias": np.concatenate([p["bias"].reshape(width) for p in projections]),
        "self_attn.out_proj.weight": params["attention"]["out"]["kernel"].reshape(width, width).T,
        "self_attn.out_proj.bias": params["attention"]["out"]["bias"],
    }
    for number in (1, 2):
        weights |= {f"linear{number}.weight": params[f"mlp{number}"]["kernel"].T}
        weights |= {f"linear{number}.bias": params[f"mlp{number}"]["bias"]}
        weights |= {f"norm{number}.weight": params[f"norm{number}"]["scale"]}
        weights |= {f"norm{number}.bias": params[f"norm{number}"]["bias"]}
    theirs.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    # In training mode, which without dropout is the same map, PyTorch takes no fused path of its own.
    theirs_input = torch.from_numpy(x).requires_grad_()
    expected = theirs(theirs_input)
    expected.square().sum().backward()

    def ours(x):
        y = block.apply(variables, x, train=False)
        return jnp.sum(y**2), y

    gradient, y = jax.jit(jax.grad(ours, has_aux=True))(x)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-4, atol=1e-4)
    scale = theirs_input.grad.abs().max().item()
    np.testing.assert_allclose(gradient / scale, theirs_input.grad.numpy() / scale, atol=1e-5)


def test_without_train_nothing_is_random_and_with_it_everything_is():
    model, images = tiny(depth=1, dropout=0.5, survival=0.5), pixels(2, 8, 8, 3)
    variables = drawn(model, images)
    np.testing.assert_array_equal(run(model, variables, images)[0], run(tiny(depth=1), variables, images)[0])
    first, second = (run(model, variables, images, train=True, seed=seed)[1] for seed in (0, 1))
    for name in first:
        assert not np.array_equal(first[name], second[name]), name


def test_blocks_survive_less_with_depth():
    # Huang et al. 2016, equation 4: with survival 0.2 at the end of two blocks, 0.6 and 0.2; each has two branches.
    model, images = tiny(survival=0.2, width=3), pixels(3000, 4, 4, 1)
    variables = drawn(model, images)
    activations = jax.tree.map(np.asarray, run(model, variables, images, train=True)[1])
    skipped = (activations["block1"] == activations["block2"]).all((1, 2)).mean()
    token = np.asarray(variables["params"]["token"]) + variables["params"]["token_position"]
    skipped_first = np.isclose(activations["block1"][:, 0], token).all(1).mean()
    spread = 5 * np.sqrt(0.25 / 3000)
    assert abs(skipped_first - 0.4**2) < spread
    assert abs(skipped - 0.8**2) < spread


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
    images = pixels(2, 8, 8, 3)
    half, single = tiny(dtype=jnp.bfloat16), tiny()
    variables = jax.tree.map(lambda leaf: np.asarray(leaf) * np.float32(0.2), drawn(half, images))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    logits, activations = run(half, variables, images)
    dtypes = {name: value.dtype.name for name, value in activations.items()}
    assert dtypes == dict.fromkeys(("patches", "block1", "block2"), "bfloat16") | dict.fromkeys(
        ("pool", "logits"), "float32"
    )
    np.testing.assert_allclose(logits, run(single, variables, images)[0], atol=0.02)


def test_float64_is_float64_throughout():
    with jax.enable_x64(True):
        images = pixels(2, 8, 8, 3).astype(jnp.float64)
        model = tiny(dtype=jnp.float64)
        variables = drawn(model, images)
        logits, activations = run(model, variables, images)
    assert {leaf.dtype for leaf in (*jax.tree.leaves(variables), *activations.values(), logits)} == {jnp.dtype(float)}


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        ({}, (1, 8, 10, 1), "8×10 pixels cannot be cut into patches of patch_size=4"),
        ({"patch_size": 16}, (1, 8, 8, 1), "8×8 pixels cannot be cut into patches of patch_size=16"),
        ({"heads": 5}, (1, 8, 8, 1), "width=12 must be a multiple of heads=5"),
        ({"width": 0}, (1, 8, 8, 1), "width=0 must be at least 1"),
        ({"depth": 0}, (1, 8, 8, 1), "depth=0 must be at least 1"),
        ({"dropout": 1.0}, (1, 8, 8, 1), "dropout=1.0 must lie in [0, 1)"),
        ({"survival": 0.0}, (1, 8, 8, 1), "survival=0.0 must lie in (0, 1]"),
        ({}, (8, 8, 1), "images have shape (8, 8, 1)"),
    ],
)
def test_what_cannot_be_built_says_why(fields, shape, message, without_type_checks):
    with pytest.raises(InputError) as error:
        jax.eval_shape(tiny(**fields).init, KEY, jax.ShapeDtypeStruct(shape, jnp.float32))
    assert message in str(error.value)


def test_images_of_another_size_than_at_initialisation_are_refused():
    variables = drawn(tiny(), pixels(1, 8, 12, 1))
    with pytest.raises(InputError, match="8×12 pixels and has no positions for 12×8"):
        tiny().apply(variables, pixels(1, 12, 8, 1))
