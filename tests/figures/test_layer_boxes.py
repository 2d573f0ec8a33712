"""Networks drawn from their programs: the boxes are to scale, and what stands below them is so."""

import xml.etree.ElementTree as ElementTree

import jax.numpy as jnp
import pytest

from cnnjax import InputError, layers, models, ops
from cnnjax.figures import architecture
from cnnjax.figures.box_drawing import FRONT, LINES, SHORTCUT, counted
from cnnjax.figures.drawing import Outline, Words
from cnnjax.sweep.catalogue import CATALOGUE, maker
from tests.repeats import repeated


def words(drawing):
    return [shape.text for shape in drawing.shapes if isinstance(shape, Words)]


def fronts(drawing):
    """Width and height of what is seen of each map from the front."""
    found = [shape.points for shape in drawing.shapes if isinstance(shape, Outline) and shape.fill == FRONT]
    return [(max(x for x, _ in p) - min(x for x, _ in p), max(y for _, y in p) - min(y for _, y in p)) for p in found]


def shortcuts(drawing):
    """Lines in the colour of shortcuts, without their heads."""
    return [s for s in drawing.shapes if isinstance(s, Outline) and s.stroke == SHORTCUT and not s.closed]


def test_lenet_has_its_published_sizes_and_parameters_with_boxes_to_scale():
    drawing = architecture(models.LeNet5(num_classes=10), (28, 28, 1))
    text = words(drawing)
    assert text[-2].startswith("LeNet5: 61,706 parameters")
    assert {"c1", "28×28×6", "s2", "14×14×6", "c3", "10×10×16", "s4", "5×5×16", "c5", "120 units"} <= set(text)
    assert {"156 parameters", "2.42 k parameters", "48.1 k parameters"} <= set(text)  # 25·6+6, 25·6·16+16, 400·120+120
    (c1, s2, c3, s4) = fronts(drawing)
    assert [front[1] / c1[1] for front in (s2, c3, s4)] == pytest.approx([14 / 28, 10 / 28, 5 / 28])
    assert c3[0] / c1[0] == s4[0] / s2[0] == pytest.approx(16 / 6)
    ElementTree.fromstring(str(drawing))


def test_alexnet_has_two_towers_that_cross_before_the_third_convolution():
    drawing = architecture(models.alexnet_small(num_classes=10), (32, 32, 3))
    split = ["conv1", "norm1", "pool1", "conv2", "norm2", "pool2", "conv3", "conv4", "conv5", "pool5"]
    assert len(fronts(drawing)) == 2 * len(split)
    assert "5×5, 2 groups" in words(drawing)
    one_tower = architecture(models.alexnet_one_tower(num_classes=10), (64, 64, 3))
    assert len(fronts(one_tower)) == len(split) - 2  # which has no normalisation
    lines = [s for s in drawing.shapes if isinstance(s, Outline) and s.stroke == LINES and not s.closed]
    # From the images to both towers, nine steps of which one crosses, from both to fc6, on to the end.
    assert len(lines) == 2 + (8 * 2 + 4) + 2 + 2


def test_residual_blocks_have_arcs_and_their_plain_twins_have_none():
    residual, plain = (make(num_classes=10, depth=1) for make in (models.resnet20, models.plain20))
    assert len(shortcuts(architecture(residual, (32, 32, 3)))) == 3
    assert shortcuts(architecture(plain, (32, 32, 3))) == []


def test_within_a_block_are_its_convolutions_and_the_shortcut():
    model = models.ResNet(num_classes=10, depth=1, shortcut="B")
    inside = architecture(model, (32, 32, 3), layer="stage2_block1")
    text = words(inside)
    assert [text.count(label) for label in ("3×3 / 2", "3×3", "1×1", "+", "ReLU")] == [1, 1, 1, 1, 2]
    assert f"{3 * 3 * 16 * 32:,} weights" in text
    assert len(shortcuts(inside)) == 2  # there and back
    identity = architecture(model, (32, 32, 3), layer="stage1_block1")
    assert len(shortcuts(identity)) == 1
    plain = architecture(models.plain20(num_classes=10, depth=1), (32, 32, 3), layer="stage1_block1")
    assert shortcuts(plain) == []
    assert "+" not in words(plain)


def test_a_block_or_any_function_of_images_is_drawn_too():
    block = architecture(layers.BasicBlock(features=8), (8, 8, 8), layer="output")
    assert "+" in words(block)

    def network(signals):
        a = ops.conv(signals, jnp.ones((3, 1, 4)))
        return {"a": a, "mean": a.mean(1)}

    drawing = architecture(network, (16, 1), title="A signal")
    assert {"a", "16×4", "mean", "4 units"} <= set(words(drawing))
    assert words(drawing)[-2].startswith("A signal: ")


def test_of_deep_networks_like_layers_are_one_box():
    text = words(architecture(models.resnet56(num_classes=10), (32, 32, 3)))
    assert "stage1_block1 … ×9" in text
    assert any(line.startswith("stage3_block2") and line.endswith("×8") for line in text)


@pytest.mark.parametrize("name", repeated(["vit_tiny", *(n for n in CATALOGUE if n != "vit_tiny")]))
def test_every_network_of_the_catalogue_is_drawn(name):
    setting = CATALOGUE[name]
    drawing = architecture(maker(name)(num_classes=setting.classes), (setting.side, setting.side, setting.channels))
    assert "logits" in words(drawing)
    assert drawing.width < 2000


def test_parameters_are_counted_short():
    assert [counted(n) for n in (156, 2416, 37_748_736, 999_999)] == ["156", "2.42 k", "37.7 M", "1 M"]


@pytest.mark.usefixtures("without_type_checks")
def test_what_cannot_be_drawn_is_refused():
    model = models.LeNet5(num_classes=10)
    with pytest.raises(InputError, match=r"image_shape=\(28, 28\.5, 1\) must be"):
        architecture(model, (28, 28.5, 1))
    with pytest.raises(InputError, match=r"layer='c9' is not a layer; the layers are c1, s2, .*logits"):
        architecture(model, (28, 28, 1), layer="c9")
    with pytest.raises(InputError, match="layer"):
        architecture(models.alexnet_small(num_classes=10), (4, 4, 3))
