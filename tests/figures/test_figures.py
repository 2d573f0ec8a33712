"""Figures show the numbers that they were given, fit their frame, and are the same file every time."""

import sys
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from cnnjax import InputError
from cnnjax.figures import angle_curves, colors, save, score_dots, training_curves, translation_maps
from cnnjax.figures.style import short_labels

CELLS = [f"augmentation={name}" for name in ("none", "crop", "rotation", "crop+rotation")]
DEGREES = range(0, 360, 15)


def curves(cells=CELLS, seeds=5, angles=24):
    random = np.random.default_rng(0)
    return {cell: random.random((seeds, angles)) for cell in cells}


def maps(cells=CELLS, k=4):
    random = np.random.default_rng(1)
    return {cell: random.random((2 * k + 1, 2 * k + 1)) for cell in cells}


def scores(cells=CELLS):
    random = np.random.default_rng(2)
    rows = [{"cell": c, "score": s, "mean": m, "low": m - 0.02, "high": m + 0.01, "n": 5} for c in cells
            for s in ("accuracy", "mean accuracy under translation", "consistency")
            for m in [random.uniform(0.3, 0.9)]]  # fmt: skip
    return pd.DataFrame(rows)


def metrics(cells=CELLS, epochs=6):
    random = np.random.default_rng(3)
    return pd.DataFrame(
        [
            {"cell": cell, "seed": seed, "epoch": epoch, "loss": random.uniform(0.2, 2), "accuracy": random.random()}
            for cell in cells
            for seed in range(3)
            for epoch in range(1, epochs + 1)
        ]
    )


NARROW = [f"augmentation={name}" for name in ("a rather long name of a cell", "another long name", *map(str, range(9)))]

TESTS = {cell: [0.2 * number, 0.2 * number + 0.1] for number, cell in enumerate(CELLS)}

FIGURES = {
    "angles": lambda: angle_curves(curves(), DEGREES, note="digits, 360 test images."),
    "angles on a line": lambda: angle_curves(curves(), DEGREES, polar=False),
    "angles of a sector": lambda: angle_curves(curves(angles=7), np.arange(-45, 46, 15)),
    "angles of one seed": lambda: angle_curves(curves(["only"], 1), DEGREES),
    "angles of many cells": lambda: angle_curves(curves(NARROW), DEGREES, note="A long note. " * 30),
    "maps": lambda: translation_maps(maps(), note="Mean over 5 seeds."),
    "maps in rows": lambda: translation_maps(maps(NARROW[2:8])),
    "one map": lambda: translation_maps(maps(["only"]), title="Accuracy under every translation of a small image"),
    "two maps": lambda: translation_maps(maps(CELLS[:2], k=1)),
    "equal maps": lambda: translation_maps({"a": np.ones((3, 3)), "b": np.ones((3, 3))}),
    "scores": lambda: score_dots(scores()),
    "one score": lambda: score_dots(scores(["only"]).head(1).assign(low=np.nan, high=np.nan)),
    "scores and chance": lambda: score_dots(scores(), chance=0.1),
    "angles and chance": lambda: angle_curves(curves(), DEGREES, chance=0.1),
    "maps and chance": lambda: translation_maps(maps(), chance=0.1),
    "training": lambda: training_curves(metrics()),
    "training with tests": lambda: training_curves(metrics(), tests=TESTS, chance=0.1),
    "training of one epoch": lambda: training_curves(metrics(epochs=1)),
    "training to a loss of 0": lambda: training_curves(metrics().assign(loss=0.0)),
}


@pytest.fixture(params=FIGURES)
def figure(request):
    return FIGURES[request.param]()


def drawn_texts(figure):
    """What a reader sees: matplotlib keeps labels of ticks outside an axis too, but does not draw them."""
    seen = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        seen += [*axes.texts, axes.title, axes._left_title]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            along = 0 if axis.axis_name in ("x", "theta") else 1
            seen += [axis.label, *(text for text in axis.get_ticklabels() if low <= text.get_position()[along] <= high)]
    return [text for text in seen if text.get_text().strip() and text.get_visible()]


def test_every_text_lies_in_the_figure_and_on_no_other(figure):
    figure.draw_without_rendering()
    frame = figure.bbox
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn_texts(figure)]
    assert boxes
    for text, box in boxes:
        assert frame.x0 - 1 <= box.x0, text
        assert box.x1 <= frame.x1 + 1, text
        assert frame.y0 - 1 <= box.y0, text
        assert box.y1 <= frame.y1 + 1, text
    for i, (one, box) in enumerate(boxes):
        for other, another in boxes[i + 1 :]:
            width = min(box.x1, another.x1) - max(box.x0, another.x0)
            height = min(box.y1, another.y1) - max(box.y0, another.y0)
            assert width <= 1.5 or height <= 1.5, (one, other)


def test_a_saved_figure_is_a_png_wide_enough_for_a_page_and_always_the_same(tmp_path):
    for name in ("first", "second"):
        save(FIGURES["angles"](), tmp_path / "figures" / f"{name}.png")
    first, second = ((tmp_path / "figures" / f"{name}.png").read_bytes() for name in ("first", "second"))
    assert first == second
    image = Image.open(BytesIO(first))
    assert image.format == "PNG"
    assert image.size == (1350, 660)
    assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)


def test_lines_are_means_and_bands_reach_over_the_seeds():
    data = curves()
    figure = angle_curves(data, DEGREES)
    line = figure.axes[0]
    for drawn, cell in zip(line.lines, CELLS, strict=True):
        at = dict(zip(drawn.get_xdata(), drawn.get_ydata(), strict=True))
        assert at[0] == pytest.approx(100 * data[cell][:, 0].mean())
        assert at[-15] == pytest.approx(100 * data[cell][:, 23].mean())
        assert at[-180] == at[180] == pytest.approx(100 * data[cell][:, 12].mean())
        assert list(at) == list(range(-180, 181, 15))
    band = line.collections[1].get_paths()[0].vertices
    middle = band[band[:, 0] == 0][:, 1]
    assert (middle.min(), middle.max()) == pytest.approx(
        (100 * data[CELLS[1]][:, 0].min(), 100 * data[CELLS[1]][:, 0].max())
    )


def test_a_whole_circle_closes_and_a_sector_does_not():
    (drawn,) = angle_curves(curves(["a"]), DEGREES).axes[1].lines
    assert len(drawn.get_xdata()) == 25
    assert drawn.get_ydata()[0] == drawn.get_ydata()[-1]
    (drawn,) = angle_curves(curves(["a"], angles=7), np.arange(-45, 46, 15)).axes[1].lines
    np.testing.assert_allclose(np.degrees(drawn.get_xdata()), np.arange(-45, 46, 15))


def test_the_order_of_the_angles_does_not_matter():
    values = curves(["a"])["a"]
    order = np.random.default_rng(4).permutation(24)
    plain = angle_curves({"a": values}, DEGREES)
    mixed = angle_curves({"a": values[:, order]}, np.array(DEGREES)[order])
    for one, other in zip(plain.axes, mixed.axes, strict=True):
        np.testing.assert_array_equal(one.lines[0].get_ydata(), other.lines[0].get_ydata())


def test_maps_share_one_scale_and_put_dy_downwards():
    data = maps()
    figure = translation_maps(data)
    images = [axes.images[0] for axes in figure.axes[:4]]
    everything = np.stack(list(data.values())) * 100
    for image, cell in zip(images, CELLS, strict=True):
        np.testing.assert_allclose(image.get_array(), data[cell] * 100)
        assert image.get_clim() == (0, 100)  # of any run
        left, right, bottom, top = image.get_extent()
        assert (left, right) == (-4.5, 4.5)
        assert (image.origin, bottom, top) == ("upper", 4.5, -4.5)
    shown = [text.get_text() for text in figure.axes[0].texts]
    others = np.delete(everything[0].ravel(), 40)
    assert shown == [f"mean {others.mean():.1f}, lowest {others.min():.1f}"]


def test_dots_stand_at_means_and_bars_at_intervals():
    table = scores()
    axes = score_dots(table).axes[0]
    for dots, bars, cell in zip(axes.lines, axes.collections, CELLS, strict=False):
        mine = table[table["cell"] == cell]
        np.testing.assert_allclose(dots.get_xdata(), 100 * mine["mean"])
        ends = np.array([segment[:, 0] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends, 100 * mine[["low", "high"]])


def test_training_curves_are_means_by_epoch():
    table = metrics()
    loss, accuracy = training_curves(table).axes
    for axes, column, factor in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        expected = table[table["cell"] == CELLS[2]].groupby("epoch")[column].mean() * factor
        np.testing.assert_allclose(axes.lines[2].get_ydata(), expected)
    assert loss.get_yscale() == "log"
    assert training_curves(table.assign(loss=0.0)).axes[0].get_yscale() == "linear"


def test_accuracies_on_test_images_stand_at_the_end_of_the_training():
    accuracy = training_curves(metrics(), tests=TESTS).axes[1]
    diamonds = [line for line in accuracy.lines if line.get_marker() == "D"]
    found = [(line.get_xdata()[0], line.get_ydata()[0]) for line in diamonds]
    np.testing.assert_allclose(found, [(6, 100 * np.mean(values)) for values in TESTS.values()])


def test_scores_have_one_scale_in_all_figures_and_chance_is_marked():
    few = scores().assign(mean=0.5, low=0.49, high=0.51)
    for axes, along in (
        (score_dots(few, chance=0.25).axes[0], "x"),
        (angle_curves(curves(), DEGREES, chance=0.25).axes[0], "y"),
        (training_curves(metrics(), chance=0.25).axes[1], "y"),
        (translation_maps(maps(), chance=0.25).axes[-1], "y"),
    ):
        low, high = axes.get_xlim() if along == "x" else axes.get_ylim()
        assert (low, high) == (pytest.approx(0, abs=1), pytest.approx(100, abs=1))
        dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert [float(np.unique(line.get_data()[along == "y"]).item()) for line in dotted] == [25]
        said = " ".join(" ".join(text.get_text() for text in axes.figure.texts).split())
        assert "Dotted: always the commonest class, right for 25.0 %." in said
    with pytest.raises(InputError, match="chance=25 must be a share, from 0 to 1"):
        score_dots(few, chance=25)


def test_a_notebook_shows_a_figure_though_nothing_told_it_how_to():
    """IPython as it is before pyplot is imported."""
    formatters = pytest.importorskip("IPython.core.formatters")
    shown, _ = formatters.DisplayFormatter().format(FIGURES["one map"]())
    assert Image.open(BytesIO(shown["image/png"])).format == "PNG"


def test_a_cell_keeps_its_colour_in_every_figure():
    palette = colors(CELLS)
    some = CELLS[1:]
    drawn = [
        angle_curves(curves(some), DEGREES, palette=palette).axes[0].lines,
        score_dots(scores(some), palette=palette).axes[0].lines,
        training_curves(metrics(some), palette=palette).axes[0].lines,
    ]
    for lines in drawn:
        assert [to_hex(line.get_color()) for line in lines][:3] == [palette[cell].lower() for cell in some]


@pytest.mark.parametrize("n", [1, 8, 9, 30])
def test_colours_differ(n):
    palette = colors([str(i) for i in range(n)])
    assert len({to_hex(colour) for colour in palette.values()}) == n


def test_n_and_the_meaning_of_the_marks_are_stated():
    def notes(figure):
        return " ".join(" ".join(text.get_text() for text in figure.texts).split())

    assert "Line: mean over 5 seeds; band: lowest to highest seed." in notes(angle_curves(curves(), DEGREES))
    uneven = curves(CELLS[:1], 3) | curves(CELLS[1:2], 5)
    assert "mean over 3 to 5 seeds" in notes(angle_curves(uneven, DEGREES))
    assert "One seed." in notes(angle_curves(curves(seeds=1), DEGREES))
    assert "Dot: mean over 5 seeds; bar: 95 % bootstrap interval." in notes(score_dots(scores()))
    assert "Dot: mean over 3 seeds; bar: 95 % t interval." in notes(score_dots(scores().assign(n=3)))
    assert "Of two seeds the interval says little." in notes(score_dots(scores().assign(n=2)))
    assert "mean over 3 seeds" in notes(training_curves(metrics()))
    assert "Accuracy under rotation, by augmentation" in notes(angle_curves(curves(), DEGREES))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["augmentation=none", "augmentation=crop"], (", by augmentation", ["none", "crop"])),
        (["a_b=1,c=2", "a_b=2,c=2"], (", by a b", ["1", "2"])),
        (["a=1,c=2", "a=2,c=3"], (", by a and c", ["1, 2", "2, 3"])),
        (["none", "crop"], ("", ["none", "crop"])),
        (["a=1", "b=1"], ("", ["a=1", "b=1"])),
        (["a=1"], ("", ["a=1"])),
    ],
)
def test_labels_say_what_differs(cells, expected):
    by, labels = short_labels(cells)
    assert (by, list(labels.values())) == expected
    assert list(labels) == cells


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: angle_curves({}, DEGREES), "0 curves of 24 angles"),
        (lambda: angle_curves(curves(angles=1), [0]), "4 curves of 1 angles"),
        (lambda: angle_curves({"a": np.ones((5, 23))}, DEGREES), r"'a' has the shape \(5, 23\).*\(seeds, 24\)"),
        (lambda: translation_maps({}), r"shapes \[\]"),
        (lambda: translation_maps({"a": np.ones((4, 4))}), r"\(4, 4\).*2k\+1"),
        (lambda: translation_maps({"a": np.ones((3, 3)), "b": np.ones((5, 5))}), "of one k"),
        (lambda: score_dots(scores().drop(columns="low")), "lacks the columns low; it has cell"),
        (lambda: score_dots(scores().head(0)), "no rows"),
        (lambda: training_curves(metrics(), loss="train_loss"), "lacks the columns train_loss"),
        (lambda: training_curves(metrics().assign(loss=np.nan)), "no rows"),
    ],
)
def test_refusals_name_what_is_wrong(draw, message):
    with pytest.raises(InputError, match=message):
        draw()


def test_drawing_leaves_the_reader_s_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    had = "matplotlib.pyplot" in sys.modules
    FIGURES["training"]()
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had
