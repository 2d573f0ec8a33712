"""How far pictures of a network can be believed: what they keep of random weights, and what they find."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, get_args

import jax
import numpy as np
from flax.errors import FlaxError
from jaxtyping import Bool, Float, Int

from cnnjax import analysis, data
from cnnjax.analysis import sanity
from cnnjax.analysis.attribution.backward.relu_rules import Rule
from cnnjax.data.shapes import KINDS
from cnnjax.errors import InputError
from cnnjax.runs import Progress
from experiments.shared.subject import Subject, by_layer, map_fields

RULES: tuple[Rule, ...] = get_args(Rule)
LOGITS = "logits"
KEPT = 3
"""Images whose pictures are kept to be shown."""

Arrays = dict[str, np.ndarray]


def classes_of(subject: Subject, images: Float[np.ndarray, "n height width channels"]) -> Int[np.ndarray, " n"]:
    """The network's own answers."""
    found = jax.jit(lambda f, x: f(x)[LOGITS].argmax(-1))(subject.forward(), images)
    return np.asarray(found)


def right_classes(subject: Subject, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The labels of some images; the network's own answers where there are none."""
    labels = subject.images.labels
    return classes_of(subject, subject.floats(rows)) if labels is None else labels[rows].astype(np.int64)


def _explain(rule: Rule, labels: Int[np.ndarray, " n"]) -> Callable[[Any, Any], np.ndarray]:
    return lambda f, x: analysis.saliency(f, x, LOGITS, labels, rule=rule).maps


def cascades(subject: Subject, rows: Int[np.ndarray, " n"], progress: Progress, *, most: int | None = None) -> Arrays:
    """Rank correlations `RULE/NUMBER/LAYER/signed` (images,), and some pictures, as layers are drawn anew.

    Where there are more than `most` layers, those whose names begin alike are drawn together.
    """
    images, labels = subject.floats(rows), right_classes(subject, rows)
    network, fresh = subject.forward(), by_layer(subject.fresh())
    groups = _groups([*fresh], most)
    apply = _ungrouped(network.func, groups)
    found: Arrays = {"images": images[:KEPT]}
    for done, rule in enumerate(RULES):
        progress.advance(done, len(RULES), f"randomising layers, {rule}")
        cascade = sanity.cascading_randomization(
            apply, _grouped(network.args[0], groups), _grouped(fresh, groups), images, _explain(rule, labels)
        )
        for number, layer in enumerate(cascade.layers):
            name = f"{rule}/{number:03d}/{layer}"
            found[f"{name}/signed"], found[f"{name}/absolute"] = cascade.signed[number], cascade.absolute[number]
        steps = sorted({0, 1, (len(cascade.layers) + 1) // 2, len(cascade.layers)})
        found[f"{rule}/steps"] = np.array(steps)
        found[f"{rule}/maps"] = np.stack([cascade.maps[step][:KEPT] for step in steps])
    return found


def _groups(layers: list[str], most: int | None) -> dict[str, str]:
    """The group of each layer: its own name, cut where too many layers are named so deeply."""
    parts = {layer: layer.split(".") for layer in layers}
    depth = max(map(len, parts.values()))
    while True:
        groups = {layer: ".".join(part[:depth]) for layer, part in parts.items()}
        if most is None or depth == 1 or len({*groups.values()}) <= most:
            return groups
        depth -= 1


def _grouped(layers: Mapping[str, Mapping[str, Any]], groups: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for layer, members in layers.items():
        found.setdefault(groups[layer], {}).update({f"{layer}|{name}": leaf for name, leaf in members.items()})
    return found


def _ungrouped(apply: Callable[[Any, Any], Any], groups: Mapping[str, str]) -> Callable[[Any, Any], Any]:
    def ungrouped(grouped: Any, images: Any) -> Any:
        layers: dict[str, dict[str, Any]] = {layer: {} for layer in groups}
        for members in grouped.values():
            for place, leaf in members.items():
                layer, _, name = place.rpartition("|")
                layers[layer][name] = leaf
        return apply(layers, images)

    return ungrouped


def recoveries(subject: Subject, rows: Int[np.ndarray, " n"], progress: Progress) -> Arrays:
    """The correlation of each rule's picture with the image, of this network and of one before any training."""
    images, labels = subject.floats(rows), right_classes(subject, rows)
    networks = {"trained": subject.forward(), "untrained": subject.forward(subject.fresh())}
    return {
        f"{rule}/{name}": sanity.image_recovery(f, images, _explain(rule, labels))
        for rule in RULES
        for name, f in networks.items()
    }


def _with_a_map_for_each_channel(subject: Subject, layer: str) -> str | None:
    """The layer; or, where it has several, one for each element of a group, the last layer that has one; or None."""
    fields = map_fields(subject.apply, subject.variables, subject.images.pixels)
    shapes = jax.eval_shape(subject.forward(), subject.floats(np.arange(1)))
    names = [name for name in fields if len(shapes[name].shape) == subject.images.pixels.ndim]
    return layer if layer in names else next(reversed(names), None)


def _importances(
    subject: Subject, images: np.ndarray, labels: Int[np.ndarray, " n"], layer: str
) -> Mapping[str, Callable[[], Float[np.ndarray, "n height width"]]]:
    """Every way here to say which pixels matter for a class; Grad-CAM by the maps of `layer`, if it has any."""
    f, maps = subject.forward(), _with_a_map_for_each_channel(subject, layer)
    explained = {
        rule: functools.partial(lambda rule: analysis.strength(_explain(rule, labels)(f, images)), rule)
        for rule in RULES
    }
    found: dict[str, Callable[[], Any]] = {
        **explained,
        "gradient × image": lambda: analysis.strength(_explain("gradient", labels)(f, images) * images),
    }
    if maps is not None:
        found["Grad-CAM"] = lambda: analysis.grad_cam(f, images, maps, labels, output=LOGITS).maps[..., 0]
    found["random"] = lambda: np.random.default_rng(0).random(images.shape[:-1])
    return found


def perturbations(subject: Subject, rows: Int[np.ndarray, " n"], layer: str, progress: Progress) -> Arrays:
    """Areas under the deletion and insertion curves, `METHOD/deletion` (images,), against the mean pixel."""
    images, labels, f = subject.floats(rows), right_classes(subject, rows), subject.forward()
    background = subject.images.pixels.mean((0, 1, 2)) / 255
    found: Arrays = {}
    methods = _importances(subject, images, labels, layer)
    for done, (name, importance) in enumerate(methods.items()):
        progress.advance(done, len(methods), f"taking pixels away, {name}")
        order = importance()
        for kind in (analysis.deletion, analysis.insertion):
            curve = kind(f, images, order, labels, logits=LOGITS, background=background)
            found[f"{name}/{kind.__name__}"] = curve.auc
    return found


def pointing(subject: Subject, count: int, layer: str, progress: Progress) -> Arrays:
    """Hits `METHOD` (images,) where two shapes lie in a larger image, or four test images in its quarters.

    Nothing where the network cannot take images of twice the size, or there are no labels of four classes.
    """
    drawn = _pointing_images(subject, count)
    if drawn is None:
        return {}
    images, labels, truth = drawn
    try:
        jax.eval_shape(subject.forward(), jax.ShapeDtypeStruct(images.shape, images.dtype))
    except (InputError, FlaxError):  # of a network for images of one size
        return {}
    found: Arrays = {"share": truth.mean((1, 2))}
    methods = _importances(subject, images, labels, layer)
    for done, (name, importance) in enumerate(methods.items()):
        progress.advance(done, len(methods), f"pointing, {name}")
        found[name] = analysis.pointing_game(importance(), truth).astype(np.float64)
    center = np.zeros(truth.shape)
    center[:, truth.shape[1] // 2, truth.shape[2] // 2] = 1
    found["centre"] = analysis.pointing_game(center, truth).astype(np.float64)
    return found


def _pointing_images(
    subject: Subject, count: int
) -> (
    tuple[Float[np.ndarray, "n height width channels"], Int[np.ndarray, " n"], Bool[np.ndarray, "n height width"]]
    | None
):
    """Images of twice the size, the class that is asked for, and where it is; None where the classes are not known."""
    labels, names = subject.images.labels, subject.images.class_names
    if labels is None:
        return None
    if names == KINDS:
        images, kinds, truth = data.shape_pairs(jax.random.key(0), count, size=subject.images.pixels.shape[1] * 5 // 8)
        return np.asarray(images), kinds[:, 0], truth[:, 0]
    right = np.flatnonzero(classes_of(subject, subject.floats(slice(None))) == labels)
    classes = np.unique(labels[right])
    if len(classes) < 4:
        return None
    random = np.random.default_rng(0)
    _, height, width, channels = subject.images.pixels.shape
    images = np.zeros((count, 2 * height, 2 * width, channels), np.float32)
    truth = np.zeros(images.shape[:-1], bool)
    asked = np.zeros(count, np.int64)
    for n in range(count):
        chosen = random.choice(classes, 4, replace=False)
        for quarter, label in enumerate(chosen):
            there = (
                slice(quarter // 2 * height, (quarter // 2 + 1) * height),
                slice(quarter % 2 * width, (quarter % 2 + 1) * width),
            )
            row = random.choice(right[labels[right] == label])
            images[n][there] = subject.floats(np.array([row]))[0]
            if quarter == n % 4:
                asked[n], truth[n][there] = label, True
    return images, asked, truth
