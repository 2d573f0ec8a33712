"""Tables of networks against receptive fields by hand, published costs, and moments of known kernels."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from cnnjax import InputError, models, ops
from cnnjax.analysis import lie_attribution, table
from tests.references.frameworks import BIAS, HEAD, KERNEL, MAKERS, every_framework

RNG = np.random.default_rng(0)
EDGE, ONE, WIDE, LONG, HEADS = (
    jnp.asarray(RNG.normal(size=s), jnp.float32)
    for s in ((3, 3, 2, 3), (1, 1, 3, 2), (1, 5, 3, 2), (5, 1, 2, 4), (9, 5))
)


def described(model, size):
    """The table of a network of which nothing is initialised, for images of that size."""
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    return table(model.apply, images, variables, measured=False)


# Receptive fields: Araujo et al. 2019 and its formula by hand. Parameters and multiply-adds: torchvision's
# documentation (4.09, 1.81 and 15.47 billion), He et al. 2016, table 1 for CIFAR's ResNet-20 (0.27M).
NETWORKS = {
    "resnet20": (lambda: models.resnet20(num_classes=10), 32, (81, 4, 40), 269_722, 0.04),
    "resnet18": (lambda: models.resnet18(num_classes=1000), 224, (435, 32, 217), 11_689_512, 1.81),
    "vgg16": (lambda: models.vgg16(num_classes=1000), 224, (212, 32, 90), 138_357_544, 15.47),
    "resnet50": (lambda: models.resnet50(num_classes=1000), 224, (427, 32, 213), 25_557_032, 4.09),
}


@pytest.mark.parametrize("name", ["resnet20", *(pytest.param(n, marks=pytest.mark.slow) for n in list(NETWORKS)[1:])])
def test_fields_and_costs_of_published_networks(name):
    make, size, field, parameters, multiply_adds = NETWORKS[name]
    frame = described(make(), size).to_pandas()
    last = frame[frame["height"].notna() & (frame["height"] > 1)].iloc[-1]
    assert [last[f"{key}_{side}"] for key in ("size", "stride", "padding") for side in "yx"] == [
        n for n in field for _ in "yx"
    ]
    assert last["height"] == last["width"] == size // field[1]
    assert frame["parameters"].sum() == parameters
    assert round(frame["multiply_adds"].sum() / 1e9, 2) == multiply_adds
    assert frame["layer"].iloc[-1] == "logits"
    assert frame[["size_exact", "multiply_adds_exact"]].all(axis=None)


def branches(x):
    """A stem of stride 2, then branches of 1 × 1, of 1 × 5 by 5 × 1, and of a pool, as in Inception."""
    stem = ops.conv(x, EDGE, stride=2)
    one = ops.conv(stem, ONE)
    wide = ops.conv(stem, WIDE)
    long = ops.conv(wide, LONG)
    joined = jnp.concatenate([one, long, ops.max_pool(stem, 3, stride=1, padding=1)], -1)
    logits = joined.mean((1, 2)) @ HEADS
    return logits, {"stem": stem, "one": one, "wide": wide, "long": long, "joined": joined, "logits": logits}


@pytest.fixture(scope="module")
def of_branches():
    return table(branches, RNG.uniform(size=(2, 16, 12, 2)).astype(np.float32))


def test_branches_have_each_their_own_row(of_branches):
    frame = of_branches.to_pandas().set_index("layer")
    assert list(frame.index) == ["stem", "one", "wide", "long", "joined", "logits"]
    # 3 at stride 2; a kernel of 5 behind it adds 4 · 2.
    expected = {"stem": (3, 3), "one": (3, 3), "wide": (3, 11), "long": (11, 11), "joined": (11, 11)}
    for layer, size in expected.items():
        assert (frame.loc[layer, "size_y"], frame.loc[layer, "size_x"]) == size
        assert (frame.loc[layer, "stride_y"], frame.loc[layer, "stride_x"]) == (2, 2)
        assert (frame.loc[layer, "height"], frame.loc[layer, "width"]) == (8, 6)
    assert frame["channels"].tolist()[:-1] == [3, 2, 2, 4, 9]
    assert frame["parameters"].tolist() == [54, 6, 30, 40, 0, 45]
    assert frame["multiply_adds"].tolist() == [48 * 54, 48 * 6, 48 * 30, 48 * 40, 0, 45]


def test_what_has_no_value_is_empty(of_branches):
    last = of_branches.to_pandas().iloc[-1]
    empty = [f"{name}_{side}" for name in ("stride", "padding", "effective") for side in "yx"]
    assert last[["height", "width", "channels", *empty]].isna().all()
    # Logits read the whole image.
    assert (last["size_y"], last["size_x"]) == (16, 12)
    row = next(line for line in str(of_branches).splitlines() if line.startswith("logits"))
    assert row.split()[1:4] == ["16", "×", "12"]


def test_shares_are_those_of_the_lie_derivative(of_branches):
    images = RNG.uniform(size=(2, 8, 8, 2)).astype(np.float32)
    expected = lie_attribution(branches, images, "rotation")
    frame = table(branches, images, generator="rotation").to_pandas().set_index("layer")
    for name, of in expected.items():
        np.testing.assert_allclose(frame.loc[name, "lie_share"], of.share, rtol=1e-4, atol=1e-6)
    assert of_branches.to_pandas()["lie_share"].sum() == pytest.approx(1)


def test_effective_fields_are_four_standard_deviations():
    def stack(x):
        first = ops.conv(x, jnp.ones((3, 1, 1)))
        return {"first": first, "second": ops.conv(first, jnp.ones((5, 1, 1)))}

    found = table(stack, RNG.normal(size=(3, 21, 1)).astype(np.float32))
    frame = found.to_pandas()
    # Uniform kernels: variances (k² − 1) / 12 add up.
    np.testing.assert_allclose(frame["effective"].tolist(), [4 * math.sqrt(8 / 12), 4 * math.sqrt(32 / 12)], rtol=1e-5)
    signals = ["length", "channels", "size", "stride", "padding", "size_exact", "effective"]
    assert list(frame) == ["layer", *signals, "parameters", "multiply_adds", "multiply_adds_exact", "lie_share"]
    assert frame[["length", "size", "stride", "padding"]].to_numpy().tolist() == [[21, 3, 1, 1], [21, 7, 1, 3]]


def test_a_dead_map_has_no_effective_field():
    frame = table(lambda x: {"dead": x * 0, "alive": x}, np.ones((1, 4, 4, 1), np.float32)).to_pandas()
    assert dict(zip(frame["layer"], frame["effective_x"].isna(), strict=True)) == {"dead": True, "alive": False}


def test_layers_that_cannot_move_count_with_the_next():
    def windowed(x):
        parts = x.reshape(-1, 2, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 16, 2)
        mixed = parts + parts.mean(1, keepdims=True)
        back = mixed.reshape(-1, 2, 2, 4, 4, 2).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 8, 8, 2)
        return {"windows": mixed, "count": (x > 0).sum((1, 2)), "map": back, "out": jnp.tanh(back).mean((1, 2))}

    frame = table(windowed, RNG.normal(size=(2, 8, 8, 2)).astype(np.float32)).to_pandas().set_index("layer")
    assert frame["lie_share"].isna().to_dict() == {"windows": True, "count": True, "map": False, "out": False}
    assert frame["lie_share"].sum() == pytest.approx(1)
    assert frame["height"].isna().to_dict() == {"windows": True, "count": True, "map": False, "out": True}


def test_what_is_not_measured_has_no_column(tmp_path):
    struct = jax.ShapeDtypeStruct((1, 8, 8, 2), jnp.float32)
    found = table(branches, struct, measured=False)
    assert not {"effective_y", "lie_share"} & {*found.to_pandas()}
    assert "Effective" not in str(found)
    with pytest.raises(InputError, match="measured=False"):
        table(branches, struct)
    with pytest.raises(InputError, match="shear_z"):
        table(branches, struct, generator="shear_z", measured=False)


def test_a_file_holds_what_the_frame_does(of_branches, tmp_path):
    of_branches.to_csv(tmp_path / "layers.csv")
    text = (tmp_path / "layers.csv").read_text()
    # Whole numbers stay whole beside empty cells.
    assert text.splitlines()[-1].startswith("logits,,,,16,12,,,,,True,,,45,45,True,")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "layers.csv").convert_dtypes(), of_branches.to_pandas())
    with pytest.raises(InputError, match="folder"):
        of_branches.to_csv(tmp_path)
    with pytest.raises(OSError, match="absent"):
        of_branches.to_csv(tmp_path / "absent" / "layers.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["layers.csv"]


def test_pages_show_the_same_cells_as_texts():
    found = table(lambda x: {"<b>": x}, np.ones((1, 4, 4, 1), np.float32), measured=False)
    assert "&lt;b&gt;" in found._repr_html_()
    assert "4 × 4 × 1" in found._repr_html_()
    assert "4 × 4 × 1" in str(found)


@every_framework
def test_every_framework_has_a_table(make):
    images = RNG.uniform(size=(2, 6, 6, 1)).astype(np.float32)
    frame = table(make(), images, measured=False).to_pandas()
    assert frame["layer"].tolist() == ["hidden", "0"]
    # What a function makes of NumPy's arrays while it is traced are no parameters.
    plain = make in (MAKERS["plain"], MAKERS["jit"])
    assert frame["parameters"].tolist() == [0, 0] if plain else [KERNEL.size + BIAS.size, HEAD.size]
    assert frame["multiply_adds"].tolist() == [36 * KERNEL.size, HEAD.size]
    assert frame["size_x"].tolist() == [3, 6]
