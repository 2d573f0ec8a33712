"""Small pictures: how signed values become grey, where tiles stand, and what the figures made of them show."""

import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.analysis import Occlusion
from cnnjax.figures.pictures import (
    GREY,
    PAPER,
    MapTiles,
    curves_figure,
    evolution_figure,
    filter_figure,
    montage_figure,
    mosaic,
    occlusion_figure,
    sheet_figure,
    signed_gray,
)

RANDOM = np.random.default_rng(0)


def images_of(figure):
    """What each panel shows, in the order of the panels."""
    return [axes.get_images()[0].get_array() for axes in figure.axes if axes.get_images()]


def test_zero_is_grey_and_each_picture_has_its_own_scale():
    pictures = np.zeros((3, 2, 2, 1))
    pictures[0, 0, 0] = 4.0
    pictures[0, 1, 1] = -2.0
    pictures[1, 0, 1] = -0.01
    pictures[2, 0, 0] = np.nan
    grey = signed_gray(pictures)[..., 0]
    np.testing.assert_allclose(grey[0], [[1, 0.5], [0.5, 0.25]])
    np.testing.assert_allclose(grey[1], [[0.5, 0], [0.5, 0.5]])
    np.testing.assert_array_equal(grey[2], [[np.nan, 0.5], [0.5, 0.5]])
    colors = np.stack([np.full((1, 1, 3), 0.0)])
    colors[0, 0, 0] = 1.0, -0.5, 0.0
    np.testing.assert_allclose(signed_gray(colors)[0, 0, 0], [1, 0.25, 0.5])


def test_tiles_stand_in_rows_on_paper():
    tiles = np.arange(5.0)[:, None, None, None] / 10 * np.ones((5, 2, 3, 1))
    tiles[4, 0, 0] = np.nan
    sheet = mosaic(tiles, 2)
    assert sheet.shape == (3 * 2 + 4, 2 * 3 + 3, 3)
    sheet = sheet[1:-1, 1:-1]  # without its frame
    np.testing.assert_allclose(sheet[3:5, 4:7], 0.3)
    np.testing.assert_allclose(sheet[6:8, 0:3, 0], [[PAPER[0], 0.4, 0.4], [0.4, 0.4, 0.4]])
    for nothing in (sheet[2], sheet[:, 3], sheet[6:8, 4:7], sheet[6:7, 0]):
        assert (nothing == PAPER).all()
    with pytest.raises(InputError, match=r"Tiles of shape \(5, 2, 3, 2\) cannot be shown"):
        mosaic(np.zeros((5, 2, 3, 2)), 2)


def test_a_montage_has_projections_on_the_left_and_their_patches_on_the_right():
    pictures, patches = RANDOM.normal(size=(4, 6, 6, 1)), RANDOM.random((4, 6, 6, 1))
    blocks = [MapTiles(f"map {n}", pictures * (n + 1), patches) for n in range(5)]
    figure = montage_figure(blocks, title="t", note="n", columns=4)
    shown = images_of(figure)
    assert len(shown) == 5
    for panel in shown:
        np.testing.assert_allclose(panel[:, :15], mosaic(signed_gray(pictures), 2))
        np.testing.assert_allclose(panel[:, -15:], mosaic(patches, 2))
    # How signs are shown is said; lines are wrapped.
    assert any(GREY[:40] in text.get_text().replace("\n", " ") for text in figure.texts)
    with pytest.raises(InputError, match="no maps to show"):
        montage_figure([], title="t")


def test_units_through_training_stand_over_what_they_see():
    pictures, patches = RANDOM.normal(size=(2, 3, 5, 5, 1)), RANDOM.random((2, 3, 5, 5, 1))
    figure = evolution_figure(pictures, patches, rows=["a", "b"], columns=["1", "2", "5"], title="t")
    shown = images_of(figure)
    assert len(shown) == 6
    np.testing.assert_allclose(shown[4][1:6, 1:-1, 0], signed_gray(pictures[1, 1][None])[0, ..., 0])
    np.testing.assert_allclose(shown[4][-6:-1, 1:-1, 0], patches[1, 1, ..., 0])
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["1", "2", "5"]
    with pytest.raises(InputError, match="not of 2×2"):
        evolution_figure(pictures, patches, rows=["a", "b"], columns=["1", "2"], title="t")


def test_filters_sheets_and_curves():
    kernel = RANDOM.normal(size=(3, 3, 3, 5))
    shown = images_of(filter_figure(kernel, title="t", labels=list("abcde"), columns=4))
    np.testing.assert_allclose(shown[3][1:-1, 1:-1], signed_gray(kernel[None, ..., 3])[0])
    sheets = [[np.full((2, 2, 3), 0.1 * (r + c)) for c in range(2)] for r in range(3)]
    figure = sheet_figure(sheets, rows=list("abc"), columns=list("de"), title="t")
    assert [float(panel[0, 0, 0]) for panel in images_of(figure)] == pytest.approx([0, 0.1, 0.1, 0.2, 0.2, 0.3])
    panels = {"p": ([0, 1], {"x": [1, 2]}), "q": ([3, 4], {"x": [5, 6], "y": [0, 0]})}
    figure = curves_figure(panels, ylabel="d", title="t", xlabels={"p": "pixels"})
    lines = {line.get_label(): line for line in figure.axes[1].get_lines()}
    np.testing.assert_array_equal(lines["x"].get_ydata(), [5, 6])
    assert lines["x"].get_color() == figure.axes[0].get_lines()[0].get_color()
    assert figure.axes[0].get_xlabel() == "pixels"
    with pytest.raises(InputError, match="no curves"):
        curves_figure({}, ylabel="d", title="t")


def test_five_panels_of_a_covered_image():
    image = RANDOM.random((6, 6, 1))
    total, probability = RANDOM.random((3, 3)), RANDOM.random((3, 3))
    prediction = np.array([[7, 7, 2], [2, 2, 7], [9, 9, 9]])
    places = np.array([0.5, 2.5, 4.5])
    covered = Occlusion(
        *(image, total, RANDOM.normal(size=(6, 6, 1)), probability, prediction, (places, places)),
        channel=3, label=7, in_the_open=(1.0, 0.5, 7),
    )  # fmt: skip
    figure = occlusion_figure([covered], {2: "dog", 7: "cat", 9: "owl"}, title="t")
    first, second, _, fourth, fifth = figure.axes[:5]
    assert (first.get_ylabel(), second.get_ylabel()) == ("cat", "map 3")
    np.testing.assert_array_equal(second.get_images()[0].get_array(), total)
    assert fourth.get_images()[0].get_clim() == (0, 1)
    np.testing.assert_array_equal(fifth.get_images()[0].get_array(), [[1, 1, 0], [0, 0, 1], [2, 2, 2]])
    assert [text.get_text() for text in fifth.get_legend().get_texts()] == ["dog", "cat", "owl"]
    with pytest.raises(InputError, match="no images to show"):
        occlusion_figure([], {}, title="t")
