"""What is measured of one network: each part a function of it to JSON values, which its cell keeps."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array

from cnnjax import analysis
from cnnjax.analysis.fields.layout import layouts
from cnnjax.errors import InputError
from cnnjax.runs import Progress
from experiments.measure.layers import Layers
from experiments.measure.scope import Scope, Values, generators
from experiments.shared.growing_fields import shown
from experiments.shared.subject import LOGITS, Subject, classifier

SHIFT = analysis.Shift((1, 1), fill="zero")
"""Whose error is split into terms."""
MEMORY = 2**31
"""Bytes of activations that a measurement may hold."""


def shift_terms(subject: Subject, scope: Scope, progress: Progress, layers: Layers) -> Values:
    """`analysis.shift_terms` of the maps that go round the image, and of the logits if the last map does."""
    images = _images(subject, scope, layers, held=4)
    struct = jax.ShapeDtypeStruct(images.shape, images.dtype)
    check = lambda names: analysis.check_shift_terms(subject.forward(only=names), struct, SHIFT)  # noqa: E731
    names = _suitable(check, layers.maps)
    if names and names[-1] == layers.maps[-1]:
        names = (*names, LOGITS)
    if not names:
        return {}
    found = analysis.shift_terms(subject.forward(only=names), images, SHIFT)
    return {name: {term: float(value) for term, value in vars(found[name]).items()} for name in names}


def lie(subject: Subject, scope: Scope, progress: Progress, layers: Layers) -> Values:
    """The local equivariance error of every layer by generator, and what each layer adds to that of the logits."""
    images = _images(subject, scope, layers, held=4)
    names = _laid(subject, images, layers.measured)
    f, every = subject.forward(only=names), generators(subject)
    found: Values = {name: {} for name in names}
    for done, generator in enumerate(every):
        progress.advance(done, len(every) + len(scope.attributed), f"Lie derivative, {generator}")
        errors = analysis.local_equivariance_error(f, images, generator)
        for name in names:
            found[name][f"relative {generator}"] = errors[name].relative
            found[name][f"border {generator}"] = errors[name].at_border
            found[name][f"LEE {generator}"] = errors[name].lee
            found[name]["variation"] = errors[name].variation
    for done, generator in enumerate(scope.attributed, start=len(every)):
        progress.advance(done, len(every) + len(scope.attributed), f"attributing the Lie derivative, {generator}")
        for name, part in analysis.lie_attribution(f, images, generator, layer=LOGITS).items():
            found[name][f"share {generator}"] = part.share
    return found


def variance(subject: Subject, scope: Scope, progress: Progress, layers: Layers) -> Values:
    """`analysis.normalized_variance` of layers under shifts and rotations."""
    protocol = scope.protocol
    orbits = {"shifts": analysis.shifts(protocol.max_shift), "rotations": analysis.rotations(protocol.rotation_step)}
    images = _images(subject, scope, layers, held=1)
    found: Values = {}
    for done, (kind, orbit) in enumerate(orbits.items()):
        progress.advance(done, len(orbits), f"normalised variance under {kind}")
        names = layers.within(MEMORY // (2 * (len(orbit.parameters) + 1)))
        for name, value in analysis.normalized_variance(subject.forward(only=names), images, orbit).items():
            found.setdefault(name, {})[kind] = value.mean
    return found


def effective(subject: Subject, scope: Scope, progress: Progress, layers: Layers) -> Values:
    """The radius of the disc that holds 95 % of the effective field of a few layers' middle units."""
    images = _images(subject, scope, layers, held=2)
    found = {}
    names = shown({name: layers.fields[name] for name in layers.maps}) if layers.maps else []
    for done, name in enumerate(names):
        progress.advance(done, len(names), f"effective field of {name}")
        try:
            field = analysis.effective_receptive_field(subject.forward(only=(name,)), images, name)
        except InputError:  # a dead unit has none
            continue
        found[name] = {"radius": field.radius(), "sigma": float(np.sqrt(np.mean(np.square(field.sigma))))}
    return found


def gradients(subject: Subject, scope: Scope, progress: Progress, layers: Layers, labels: np.ndarray | None) -> Values:
    """The gradient of the cross-entropy at every layer and its parameters; of the network's own answers if need be."""
    images = _images(subject, scope, layers, held=4)
    f = subject.forward(only=layers.measured)
    answers = (
        np.asarray(analysis.classify_all(classifier(subject), images)) if labels is None else labels[: len(images)]
    )
    flow = analysis.gradient_flow(Partial(_loss(f.func)), f.args[0], (images, answers.astype(np.int32)))
    at = {signal.name: signal for signal in flow.activations.values()}
    return {
        name: {"gradient": at[name].gradient_norm, "gradient_rms": at[name].gradient_rms, "rms": at[name].rms}
        for name in layers.measured
        if name in at
    }


@functools.lru_cache(maxsize=64)
def _loss(activations: Callable[..., Any]) -> Callable[..., Any]:
    def loss(params: Any, batch: Any) -> tuple[Array, Any]:
        images, labels = batch
        found = activations(params, images)
        chances = jax.nn.log_softmax(found[LOGITS].astype(jnp.float32))
        return -jnp.take_along_axis(chances, labels[:, None], 1).mean(), found

    return loss


def _images(subject: Subject, scope: Scope, layers: Layers, *, held: int) -> np.ndarray:
    """The first images, as many as memory allows where `held` copies of their activations are."""
    return subject.floats(slice(0, image_count(scope, layers, held=held)))


def image_count(scope: Scope, layers: Layers, *, held: int) -> int:
    """How many images layers are measured over: as asked for, as memory allows, two at least."""
    return max(2, min(scope.layer_images, MEMORY // max(1, held * layers.bytes)))


def _laid(subject: Subject, images: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """The layers of which it is clear where their units lie."""
    struct = jax.ShapeDtypeStruct(images.shape, images.dtype)
    return _suitable(lambda some: layouts(subject.forward(only=some), struct), names)


def _suitable(check: Callable[[tuple[str, ...]], Any], names: Sequence[str]) -> tuple[str, ...]:
    """The names that `check` does not refuse; by halves, for most often it refuses few."""
    if not names:
        return ()
    try:
        check(tuple(names))
        return tuple(names)
    except InputError:
        half = math.ceil(len(names) / 2)
        return () if len(names) == 1 else _suitable(check, names[:half]) + _suitable(check, names[half:])
