"""What the page carries, as JSON values: networks as tapes, their fields, images, kernels."""

import base64
import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from cnnjax.errors import InputError
from experiments.explorer.fields import describe_exact, effective_fields, encode_effective
from experiments.explorer.tape import Tape, record
from experiments.shared.subject import Subject, map_fields

KERNELS = {
    "vertical edges": ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "horizontal edges": ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "mean": ((1 / 9,) * 3,) * 3,
    "sharpen": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
    "Laplacian": ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
    "the pixel itself": ((0, 0, 0), (0, 1, 0), (0, 0, 0)),
}
"""Kernels to choose beside those that networks have learned; colours are averaged."""
LONGEST = 12
"""Inputs of the largest matrix."""


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A network of the page, and its accuracy on all test images, where it is known."""

    name: str
    subject: Subject
    accuracy: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """The images of the page."""

    pixels: np.ndarray
    """uint8 (images, height, width, channels)."""
    labels: Sequence[int | None]
    titles: Sequence[str]

    @property
    def floats(self) -> np.ndarray:
        """float32 in [0, 1]."""
        return self.pixels.astype(np.float32) / np.float32(255)


def document_of(networks: Sequence[Network], shown: Shown, *, note: str) -> dict[str, Any]:
    """All that the page shows; what is measured is measured here.

    Raises InputError for a network that the page cannot run, and one without maps.
    """
    _, height, width, channels = shown.pixels.shape
    first = networks[0].subject
    return {
        "note": note,
        "size": [height, width, channels],
        "classes": [first.class_name(index) for index in range(_classes(first, shown))],
        "images": _encoded(shown.pixels.tobytes()),
        "labels": list(shown.labels),
        "titles": list(shown.titles),
        "networks": [_network(network, shown) for network in networks],
        "kernels": [
            {"name": name, "weights": [list(map(float, row)) for row in rows]} for name, rows in KERNELS.items()
        ],
        "dense": np.random.default_rng(0).normal(size=(LONGEST, LONGEST)).round(3).tolist(),
    }


def _classes(subject: Subject, shown: Shown) -> int:
    return jax.eval_shape(subject.forward(), shown.floats[:1])["logits"].shape[-1]


def _network(network: Network, shown: Shown) -> dict[str, Any]:
    subject = network.subject
    tape = record(subject.forward(), shown.pixels.shape[1:])
    return {
        "name": network.name,
        "title": subject.title,
        "accuracy": network.accuracy,
        **describe_tape(tape),
        "layers": _layers(subject, shown),
    }


def describe_tape(tape: Tape) -> dict[str, Any]:
    """A tape as JSON values."""
    constants = _encoded(tape.constants.astype("<f4").tobytes())
    return {"operations": tape.operations, "constants": constants, "outputs": tape.outputs}


def _layers(subject: Subject, shown: Shown) -> list[dict[str, Any]]:
    """The layers that are maps, with the fields of their units."""
    layers = []
    for name, field in map_fields(subject.apply, subject.variables, shown.pixels).items():
        if field.axis != (1, 2):
            continue
        exact = describe_exact(field)
        found = effective_fields(subject.forward(only=(name,)), shown.floats, name)
        weights, radii = (b"", []) if found is None else encode_effective(found, exact)
        layers.append({"name": name, **exact, "effective": _encoded(weights), "radii": radii})
    if not layers:
        raise InputError(f"{subject.title} has no maps with rows and columns: explore a convolutional network")
    return layers


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
