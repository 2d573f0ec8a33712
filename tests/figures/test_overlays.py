"""Maps lie on their images, and several have one scale."""

import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.figures import comparison_figure, overlay_figure
from tests.figures.test_figures import test_every_text_lies_in_the_figure_and_on_no_other as check_texts

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((2, 6, 8, 3))
MAPS = {
    "saliency": RANDOM.normal(size=(2, 6, 8, 3)),
    "occlusion": RANDOM.random((2, 3, 4)),
    "signed": IMAGES[..., 0] - 0.5,
}


def overlaid(**options):
    return overlay_figure(IMAGES, MAPS, title="What decides", note="a note", rows=["cat", "dog"], **options)


def panels(figure):
    return np.array([axes for axes in figure.axes if axes.images]).reshape(2, -1)


@pytest.mark.parametrize("one_scale", [False, True])
def test_a_map_covers_its_image_whatever_its_size(one_scale):
    figure = overlaid(one_scale=one_scale)
    found = panels(figure)
    for row, image in zip(found, IMAGES, strict=True):
        np.testing.assert_allclose(row[0].images[0].get_array(), image)
        for axes in row[1:]:
            under, over = axes.images
            np.testing.assert_allclose(under.get_array(), np.repeat(image.mean(-1, keepdims=True), 3, -1))
            assert tuple(under.get_extent()) == tuple(over.get_extent()) == (-0.5, 7.5, 5.5, -0.5)
            assert over.get_alpha() == 0.6
    # Of several channels each place is the strongest.
    np.testing.assert_allclose(found[1, 1].images[1].get_array(), np.abs(MAPS["saliency"][1]).max(-1))
    check_texts(figure)


def test_each_has_its_scale_or_all_have_one():
    own = [axes.images[1].get_clim() for axes in panels(overlaid())[0, 1:]]
    largest = [np.abs(MAPS[name][0]).max() for name in MAPS]
    np.testing.assert_allclose(own, [(0, largest[0]), (0, largest[1]), (-largest[2], largest[2])])
    most = max(np.abs(values).max() for values in MAPS.values())
    for axes in panels(overlaid(one_scale=True))[:, 1:].flat:
        np.testing.assert_allclose(axes.images[-1].get_clim(), (-most, most))


def test_compared_maps_have_one_scale_with_its_bar():
    pictures = {"a": np.array([[0.0, 2.0]]), "b": np.array([[1.0, 5.0]])}
    figure = comparison_figure(pictures, title="Errors", label="error", columns=1)
    assert [axes.images[0].get_clim() for axes in figure.axes[:2]] == [(0, 5), (0, 5)]
    assert figure.axes[2].get_ylabel() == "error"
    check_texts(figure)
    signed = comparison_figure({"a": pictures["a"] - 1, "b": -pictures["b"]}, title="t").axes
    assert [axes.images[0].get_clim() for axes in signed[:2]] == [(-5, 5), (-5, 5)]
    asked = comparison_figure(pictures, title="t", low=0, high=10).axes[0]
    assert asked.images[0].get_clim() == (0, 10)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: overlay_figure(IMAGES, {}, title="t"), "maps has no map"),
        (lambda: overlay_figure(IMAGES, {"a": np.ones((1, 6, 8))}, title="t"), r"maps\['a'\] is of 1 images, not of 2"),
        (lambda: overlay_figure(IMAGES, {"a": np.full((2, 6, 8), np.nan)}, title="t"), r"maps\['a'\] .* not finite"),
        (lambda: overlay_figure(255 * IMAGES, MAPS, title="t"), r"images has values from .* give pixels in \[0, 1\]"),
        (lambda: overlay_figure(IMAGES, MAPS, title="t", rows=["a"]), "rows has 1 names for 2 images"),
        (lambda: overlay_figure(IMAGES, MAPS, title="t", opacity=2), "opacity=2 must be from 0"),
        (lambda: comparison_figure({}, title="t"), "pictures has no map"),
        (lambda: comparison_figure({"a": np.ones((2, 2))}, title="t", low=3), "low=3 and high=1.0 are no scale"),
        (lambda: comparison_figure({"a": np.ones(2)}, title="t"), r"pictures\['a'\] has the shape \(2,\)"),
    ],
)
def test_refusals_name_what_is_wrong(draw, message):
    with pytest.raises(InputError, match=message):
        draw()
