"""Figures of receptive fields show the spans and weights that they were given, and fit their frame."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, Rectangle

from cnnjax import InputError
from cnnjax.analysis import EffectiveField, ReceptiveField
from cnnjax.figures import (
    colors,
    depth_figure,
    draw_effective_field,
    draw_receptive_fields,
    effective_field_figure,
    receptive_field_figure,
)


def rule(r, s, p, side=20):
    """The field of a layer with size r, stride S and padding P on square images."""
    return ReceptiveField(
        *((r, r), (s, s), (p, p), (side // s,) * 2 if s else (1, 1), (side, side)),
        exact=(True, True), border=("clipped", "clipped"), aligned=(True, True), axis=(1, 2), unfollowed=(),
        selected=False, mixes_images=False, reads=(),
    )  # fmt: skip


def spot(side=20):
    """Weights 0.6 and 0.4 at two pixels, which a disc of radius 1.2 about (9, 9.8) holds."""
    weights = np.zeros((side, side))
    weights[9, 9], weights[9, 11] = 0.6, 0.4
    return EffectiveField(weights, (9, 9))


FIELDS = {"conv1": rule(3, 1, 1), "conv2": rule(7, 2, 3), "conv3": rule(23, 4, 11), "pool": rule(20, 0, 0)}
GREY, COLOUR = np.linspace(0, 1, 400).reshape(20, 20), np.random.default_rng(0).random((20, 20, 3))

FIGURES = {
    "fields": lambda: receptive_field_figure(GREY, FIELDS, title="What a unit can see", note="A note. " * 20),
    "fields of one unit": lambda: receptive_field_figure(COLOUR, {"conv1": FIELDS["conv1"]}, position=(3, 4)),
    "far fields": lambda: receptive_field_figure(COLOUR, {"deep": rule(501, 4, 250)}),
    "depth": lambda: depth_figure(FIELDS, effective={"conv1": 3.0, "conv3": 9.0}, unproductive=["conv3"]),
    "depth of one layer": lambda: depth_figure({"pool": FIELDS["pool"]}),
    "depth of many layers": lambda: depth_figure({f"stage1_block{i}": rule(2 * i + 3, 1, 1) for i in range(70)}),
    "effective": lambda: effective_field_figure({name: spot() for name in FIELDS}, FIELDS, image=COLOUR, columns=3),
    "one effective field": lambda: effective_field_figure({"conv1": spot()}, FIELDS),
}


@pytest.fixture(params=FIGURES)
def figure(request):
    return FIGURES[request.param]()


def axes_of(draw, *args, **kwargs):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    draw(axes, *args, **kwargs)
    return axes


def patches(axes, kind):
    return [patch for patch in axes.patches if isinstance(patch, kind)]


def test_every_text_lies_in_the_figure(figure):
    figure.draw_without_rendering()
    seen = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        if axes.get_visible():
            seen += [*axes.texts, axes._left_title]
            for along, axis in enumerate((axes.xaxis, axes.yaxis)):
                # Labels beyond the view are kept, but not drawn.
                low, high = sorted(axis.get_view_interval())
                seen += [text for text in axis.get_ticklabels() if low <= text.get_position()[along] <= high]
    inside = figure.bbox
    boxes = [(text.get_text(), text.get_window_extent()) for text in seen if text.get_text()]
    assert boxes
    for text, box in boxes:
        assert inside.x0 - 1 <= box.x0, text
        assert box.x1 <= inside.x1 + 1, text
        assert inside.y0 - 1 <= box.y0, text
        assert box.y1 <= inside.y1 + 1, text


@pytest.mark.parametrize("unit", [None, (0, 0), (1, 2)])
def test_rectangles_are_the_spans(unit):
    layers = {name: FIELDS[name] for name in ("conv1", "conv2", "conv3")}
    axes = axes_of(draw_receptive_fields, GREY, layers, unit)
    boxes = patches(axes, Rectangle)
    for box, (name, field) in zip(boxes, layers.items(), strict=True):
        index = tuple((n - 1) // 2 for n in field.units) if unit is None else unit
        (top, bottom), (left, right) = field.span(index)
        # Pixel i reaches from i − ½ to i + ½.
        assert box.get_bbox().extents.tolist() == [left - 0.5, top - 0.5, right + 0.5, bottom + 0.5]
        assert box.get_label() == f"{name} ({index[0]}, {index[1]}): {field.size[0]} px"
        assert to_hex(box.get_edgecolor()) == colors(list(layers))[name].lower()
    low, high = sorted(axes.get_xlim())
    assert low <= boxes[-1].get_bbox().x0
    assert boxes[-1].get_bbox().x1 <= high
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # rows go down


def test_the_view_ends_one_image_beyond_the_image():
    axes = axes_of(draw_receptive_fields, GREY, {"deep": rule(501, 4, 250)})
    low, high = axes.get_xlim()
    assert (low, high) == pytest.approx((-20.8, 40.8))


def test_what_sees_the_whole_image_is_called_so():
    (box,) = patches(axes_of(draw_receptive_fields, GREY, {"pool": FIELDS["pool"]}), Rectangle)
    assert box.get_label() == "pool (0, 0): the image"
    assert box.get_bbox().extents.tolist() == [-0.5, -0.5, 19.5, 19.5]


def test_heat_is_in_proportion_to_the_weight_and_the_circle_lies_about_its_centre():
    axes = axes_of(draw_effective_field, spot(), FIELDS["conv2"], image=COLOUR)
    heat = axes.images[-1].get_array()
    assert heat[9, 9, 3] == 1
    assert heat[9, 11, 3] == pytest.approx(2 / 3)
    assert (heat[..., 3] > 0).sum() == 2
    (circle,) = patches(axes, Circle)
    assert (*circle.center, circle.radius) == pytest.approx((9.8, 9.0, 1.2))
    ((top, bottom), (left, right)) = FIELDS["conv2"].span((4, 4))
    (box,) = patches(axes, Rectangle)
    assert box.get_bbox().extents.tolist() == [left - 0.5, top - 0.5, right + 0.5, bottom + 0.5]


def test_depth_has_every_size_every_stride_and_what_is_unproductive():
    axes = depth_figure(FIELDS, effective={"conv1": 3.0, "conv3": 9.0}, unproductive=["conv3"]).axes[0]
    lines = {line.get_label().partition(",")[0]: line for line in axes.lines}
    assert lines["receptive field"].get_xydata().tolist() == [[0, 3], [1, 7], [2, 23]]
    assert lines["sees the whole image"].get_xydata().tolist() == [[3, 20]]
    assert lines["disc that holds 95 % of the effective field"].get_xydata().tolist() == [[0, 3], [2, 9]]
    assert list(lines["side of the image"].get_ydata()) == [20, 20]
    assert [text.get_text() for text in axes.texts] == ["S = 2", "S = 4"]
    (shade,) = patches(axes, Rectangle)
    assert (shade.get_x(), shade.get_width()) == (1.5, 1)
    assert [label.get_text() for label in axes.get_xticklabels()] == list(FIELDS)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda: receptive_field_figure(np.ones((19, 20)), FIELDS),
            r"of conv1 is of images of 20×20 pixels, not of \(19",
        ),
        (lambda: receptive_field_figure(np.ones((20, 20, 4)), FIELDS), r"shape \(20, 20, 4\)"),
        (lambda: receptive_field_figure(GREY, FIELDS, position=(7, 7)), r"position=\(7, 7\)"),
        (lambda: effective_field_figure({}, FIELDS), "no effective fields"),
        (lambda: effective_field_figure({"conv1": spot(14)}, FIELDS), "20×20 pixels"),
        (lambda: depth_figure({}), "no receptive fields"),
        (lambda: depth_figure(FIELDS, unproductive=["conv9"]), "no field of conv9; the layers are conv1"),
        (lambda: depth_figure(FIELDS, effective={"conv9": 1.0}), "no field of conv9"),
    ],
)
def test_refusals_name_what_is_wrong(draw, message):
    with pytest.raises(InputError, match=message):
        draw()
