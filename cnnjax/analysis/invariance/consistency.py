"""How much a classifier's answer depends on where and how an image lies: one protocol, stated and versioned.

Published consistencies cannot be compared with each other: they draw few shifts, let both coincide, and report
agreement that accuracy alone explains. Here every image meets every transform of an orbit, the identity is never
among them, and accuracy, its mean and its worst case over the orbit stand beside agreement.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool

from cnnjax.analysis.invariance.predictions import Predictions, predict, sizes
from cnnjax.analysis.transforms.orbits import Orbit
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.stats.intervals import Interval, over_images

PROTOCOL = "cnnjax-invariance-1"
"""Changes whenever a score or an orbit changes its meaning. Results of different versions do not compare."""

SCORES = (
    "accuracy",
    "mean_accuracy",
    "worst_accuracy",
    "consistency",
    "pairwise_consistency",
    "consistency_if_correct",
    "adjusted_consistency",
    "total_variation",
    "flip_rate",
)

LABEL_FREE = ("consistency", "pairwise_consistency", "total_variation", "flip_rate")
"""The scores that compare predictions only with each other."""


@checked()
def image_columns(
    predictions: Predictions, labels: np.ndarray, orbit: Orbit, *, among: Bool[np.ndarray, " transforms"] | None = None
) -> dict[str, np.ndarray]:
    """What the scores are made of, for each image: `{name: (images,)}`. Means of these over images give the scores.

    `among` `(transforms,)` bool takes a part of the orbit; without a path the flip rate is left out.
    """
    _check_labels(labels, predictions.classes.shape[1])
    keep = np.ones(len(orbit.parameters), bool) if among is None else np.asarray(among)
    if keep.dtype != bool or keep.shape != (len(orbit.parameters),) or not keep.any():
        raise InputError(
            f"among is {keep.dtype}{keep.shape} with {keep.sum()} transforms: give a bool for each of "
            f"{len(orbit.parameters)}, at least one of them true"
        )
    answers, reference = predictions.classes[1:][keep], predictions.classes[0]
    right, agree = answers == labels, answers == reference
    whole = np.concatenate([reference[None], answers])
    votes = np.stack([(whole == label).sum(0) for label in range(int(whole.max()) + 1)])
    correct = reference == labels
    columns = {
        "correct": correct,
        "right": right.mean(0),
        "always_right": correct & right.all(0),
        "agree": agree.mean(0),
        # Ordered pairs of two different members of the orbit, the identity among them, that agree.
        "pairs_agree": (votes * (votes - 1)).sum(0) / (len(whole) * (len(whole) - 1)),
        "agree_and_correct": agree.mean(0) * correct,
        "variation": predictions.total_variation[keep].mean(0),
    }
    if among is None and orbit.paths:
        steps = [predictions.classes[list(path)] for path in orbit.paths]
        flips = np.concatenate([walk[1:] != walk[:-1] for walk in steps])
        columns["flips"] = flips.mean(0)
    return {name: np.asarray(values, np.float64) for name, values in columns.items()}


def _check_labels(labels: np.ndarray, count: int, classes: int | None = None) -> None:
    """Raise InputError unless there is a class for each image, and one of the logits' where these are known."""
    if labels.shape != (count,):
        raise InputError(f"labels have shape {labels.shape} for {count} images: give one for each")
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels are {labels.dtype}: give the number of each image's class, an integer")
    if (labels < 0).any() or (classes is not None and (labels >= classes).any()):
        wrong = labels[(labels < 0) | (labels >= (np.inf if classes is None else classes))][0]
        below = "" if classes is None else f" and below the {classes} classes of the logits"
        raise InputError(f"label {wrong} is not a class: give numbers from 0{below}")


_COLUMNS = ("correct", "right", "always_right", "agree", "pairs_agree", "agree_and_correct", "variation")
"""What `image_columns` gives of every orbit."""


@checked()
def scores(means: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol's scores from the means of `image_columns` over images: numbers or arrays, elementwise.

    - accuracy: right on the untransformed image. mean_accuracy: over the transforms. worst_accuracy: right under all of
      them and untransformed.
    - consistency: the share of transforms that leave the answer alone; pairwise: of pairs of the orbit's members that
      agree; if_correct: given that the untransformed answer is right.
    - adjusted: (C − floor) / (1 − floor), with floor = max(0, accuracy + mean_accuracy − 1), what two sets of answers
      so accurate share at least. With equal accuracies this is the 2·accuracy − 1 of the literature; it stays in
      [0, 1] where a transform costs accuracy. Where the floor is 1, nothing is left to disagree and the score is 1.
      It is the share of the errors, on the image and under its transforms, that are shared: whether what is wrong is at
      least wrong alike. Do not rank networks by it: one that loses shared errors scores lower although it is more
      accurate and more consistent, and near an accuracy of 1 a few images decide: right on every image and on 99.9 % of
      the transformed ones it is 0, with these all right too it is 1. Compare mean_accuracy, worst_accuracy and
      consistency; this one says something only of networks of about equal accuracy that still make many errors.
    - total_variation: between class probabilities, in [0, 1]. flip_rate: of neighbours on the orbit's paths.
    """
    missing = [name for name in _COLUMNS if name not in means]
    if missing:
        raise InputError(f"means have no {', '.join(missing)}: give the means of all columns of image_columns")
    floor = np.maximum(0.0, means["correct"] + means["right"] - 1)
    beyond = np.maximum(0.0, means["agree"] - floor)  # never below but for rounding
    room = 1 - floor
    result = {
        "accuracy": means["correct"],
        "mean_accuracy": means["right"],
        "worst_accuracy": means["always_right"],
        "consistency": means["agree"],
        "pairwise_consistency": means["pairs_agree"],
        "consistency_if_correct": _ratio(means["agree_and_correct"], means["correct"], otherwise=np.nan),
        "adjusted_consistency": _ratio(beyond, room, otherwise=1.0),
        "total_variation": means["variation"],
    }
    if "flips" in means:
        result["flip_rate"] = means["flips"]
    return result


def _ratio(a: Any, b: Any, *, otherwise: float) -> np.ndarray:
    positive = b > 1e-12
    return np.where(positive, a / np.where(positive, b, 1.0), otherwise)


@checked("orbit")
def consistency(
    classify: Callable[[Array], Any], images: ArrayLike, orbit: Orbit, *, labels: np.ndarray | None = None
) -> dict[str, Interval]:
    """The protocol's scores of one classifier on one orbit; without `labels`, those that need no truth.

    Each has its mean over the images, and the 95 % interval over them, `stats.over_images` of shares. See `predict` for
    `classify` and `images`, and `scores` for what is returned. `labels` is int `(images,)`, classes of the logits. How
    the scores differ between networks is another question: train several, and give their means to `stats.over_seeds`.

    Raises InputError as `predict` does, and for a label that is not a class of the logits.
    """
    if labels is not None:
        # Before all images are classified.
        labels = np.asarray(labels)
        count, _, classes = sizes(classify, images, orbit)
        _check_labels(labels, count, classes)
    predictions = predict(classify, images, orbit)
    truth = predictions.classes[0] if labels is None else labels
    columns = {name: values[None] for name, values in image_columns(predictions, truth, orbit).items()}
    every = scores({name: values.mean() for name, values in columns.items()})
    wanted = [name for name in every if labels is not None or name in LABEL_FREE]
    return {name: over_images(columns, lambda means, name=name: scores(means)[name], shares=True) for name in wanted}
