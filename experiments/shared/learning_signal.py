"""The learning signal of networks: the gradient of the loss at their maps and kernels, measured, kept, in numbers."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from cnnjax import analysis
from cnnjax.runs.folder import Folder
from cnnjax.stats import Interval, over_seeds

QUANTITIES = "At maps: the norm of the loss's gradient, over all units and images. At kernels: its root mean square."
FACTOR = (
    "Per layer: the factor by which the gradient at maps grows from one convolution to the one before it, fitted over "
    "all maps; below 1 it vanishes on its way to the input. First / last: the decimal logarithm of the gradient in the "
    "first layer over that in the last."
)


@dataclasses.dataclass(frozen=True)
class Networks:
    """What tables and figures say of a cell: its name, the values that distinguish it, and its networks' seeds."""

    name: str
    settings: dict[str, Any]
    """Among them `network`, `norm` and `depth`."""
    numbers: range


@dataclasses.dataclass(frozen=True)
class Measured:
    """The learning signal of a cell's networks at some steps; NaN where the loss is not finite.

    `loss` is (steps, seeds); the others are (steps, seeds, layers), of maps or of convolutions in forward order.
    """

    steps: list[int]
    maps: list[str]
    kernels: list[str]
    loss: np.ndarray
    map_rms: np.ndarray
    """Root mean square over units and images."""
    map_gradient: np.ndarray
    """Norm of the gradient at a map, over units and images."""
    kernel_gradient: np.ndarray
    """Root mean square of the gradient over a convolution's weights."""


def measure_networks(
    model: nn.Module,
    networks: Mapping[int, PyTree | None],
    batch: tuple[Array, Array],
    *,
    note: Callable[[int, str], None],
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """The arrays of `Measured` at one step, with a leading seed axis, and the names of maps and kernels.

    `networks` are by seed; one that is None is not finite. `note` is given the seed of one whose loss is not, and what
    is not.
    """
    flows: list[analysis.GradientFlow | None] = []
    for seed, variables in networks.items():
        if variables is None:
            flows.append(None)
            continue
        rest = {name: value for name, value in variables.items() if name != "params"}
        try:
            flow = analysis.gradient_flow(Partial(_loss(model), rest), variables["params"], batch)
        except analysis.NotFiniteError as error:
            flow = None
            note(seed, str(error))
        flows.append(flow)
    known = next((flow for flow in flows if flow), None)
    # Maps, of which pooled features and logits are none, and the kernels of convolutions.
    maps = [name for name in known.activations if name.startswith(("conv", "stage"))] if known else []
    kernels = [name for name in known.parameters if name.endswith("kernel") and "logits" not in name] if known else []

    def each(value: Callable[[analysis.GradientFlow], Any], count: int) -> np.ndarray:
        return np.asarray([value(flow) if flow else [np.nan] * count for flow in flows], np.float64)

    arrays = {
        "loss": each(lambda flow: [flow.loss], 1)[:, 0],
        "map_rms": each(lambda flow: [flow.activations[name].rms for name in maps], len(maps)),
        "map_gradient": each(lambda flow: [flow.activations[name].gradient_norm for name in maps], len(maps)),
        "kernel_gradient": each(lambda flow: [flow.parameters[name].gradient_rms for name in kernels], len(kernels)),
    }
    return arrays, {"maps": maps, "kernels": kernels}


def measured_file(step: int) -> str:
    """The file in which a cell keeps what `measure_networks` measured at a step."""
    return f"gradients-{step:06}.safetensors"


def save_measured(folder: Folder, step: int, arrays: Mapping[str, np.ndarray], names: Mapping[str, list[str]]) -> None:
    """Keep what `measure_networks` measured at a step, behind that of other seeds where a cell has some."""
    file = measured_file(step)
    if folder.has(file):
        before, known = folder.described(file)
        names = known if known["maps"] else names
        shape = {name: max(before[name].shape[1:], values.shape[1:]) for name, values in arrays.items()}

        def wide(name: str, values: np.ndarray) -> np.ndarray:
            # Where no seed was finite, no layer has a name: it is NaN in all of them.
            full = (len(values), *shape[name])
            return values if values.shape == full else np.full(full, np.nan)

        arrays = {name: np.concatenate([wide(name, before[name]), wide(name, arrays[name])]) for name in arrays}
    folder.save(file, dict(arrays), **names)


def measured_seeds(folder: Folder, step: int) -> int:
    """Of how many seeds, the first ones, a cell has kept what was measured at a step."""
    return len(folder.arrays(measured_file(step))["loss"]) if folder.has(measured_file(step)) else 0


def read_measured(folder: Folder, steps: list[int]) -> Measured:
    """What a cell's files of these steps hold, together."""
    files = [folder.described(measured_file(step)) for step in steps]
    first, about = files[0]

    def part(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        # Where no seed was finite, no layer has a name: it is NaN in all of them.
        return arrays[name] if arrays[name].shape == first[name].shape else np.full_like(first[name], np.nan)

    arrays = {name: np.stack([part(found, name) for found, _ in files]) for name in first}
    return Measured(steps, about["maps"], about["kernels"], **arrays)


def per_layer(map_gradient: np.ndarray) -> np.ndarray:
    """The factor exp(−b) of the least-squares line a + b l through the logarithms of gradients (..., maps).

    Map 0 is that of convolution 1, and each other two convolutions further. NaN where a gradient is 0 or not finite.
    """
    layer = 2.0 * np.arange(map_gradient.shape[-1])
    layer -= layer.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(map_gradient)
        slope = logarithms @ layer / np.sum(layer**2)
    return np.where(np.isfinite(logarithms).all(-1), np.exp(-slope), np.nan)


def first_over_last(gradient: np.ndarray) -> np.ndarray:
    """The decimal logarithm of the first layer's gradient over the last's, of (..., layers); NaN as in `per_layer`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log10(gradient[..., 0]) - np.log10(gradient[..., -1])
    return np.where(np.isfinite(ratio), ratio, np.nan)


def summary_rows(found: Measured, about: Mapping[str, Any], numbers: range) -> list[dict[str, Any]]:
    """A row of numbers for each measured step and seed, each beginning with what is said `about` the cell."""
    columns = {
        "loss": found.loss,
        "per_layer": per_layer(found.map_gradient),
        "maps_first_over_last": first_over_last(found.map_gradient),
        "kernels_first_over_last": first_over_last(found.kernel_gradient),
    }
    return [
        {**about, "seed": seed, "step": step} | {name: float(values[i, s]) for name, values in columns.items()}
        for i, step in enumerate(found.steps)
        for s, seed in enumerate(numbers)
    ]


def over_finite_seeds(values: np.ndarray) -> Interval | None:
    """Over the seeds that have a value; None where none has."""
    finite = values[np.isfinite(values)]
    return over_seeds(finite) if len(finite) else None


def signal_row(of: Networks, found: Measured, i: int) -> dict[str, Any]:
    """A row of the table at the `i`-th of the measured steps."""
    return {
        **{name: of.settings[name] for name in ("network", "norm", "depth")},
        "loss": over_finite_seeds(found.loss[i]),
        "per layer": over_finite_seeds(per_layer(found.map_gradient[i])),
        "maps: first / last": over_finite_seeds(first_over_last(found.map_gradient[i])),
        "kernels: first / last": over_finite_seeds(first_over_last(found.kernel_gradient[i])),
    }


def trained_row(of: Networks, found: Measured) -> dict[str, Any]:
    """A row of the table of the first and the last of the measured steps."""
    before, after = signal_row(of, found, 0), signal_row(of, found, len(found.steps) - 1)
    row: dict[str, Any] = {name: before.pop(name) for name in ("network", "norm", "depth")}
    for name in ("loss", "per layer", "kernels: first / last"):
        row |= {f"{name} before": before[name], f"{name} after": after[name]}
    return row


@functools.lru_cache(maxsize=64)
def _loss(model: nn.Module) -> Callable[[PyTree, PyTree, tuple[Array, Array]], tuple[Array, dict[str, Array]]]:
    """The loss of a training step and the activations; one function for each network, to be compiled once."""

    def loss(rest: PyTree, params: PyTree, batch: tuple[Array, Array]) -> tuple[Array, dict[str, Array]]:
        images, labels = batch
        (logits, activations), _ = model.apply({"params": params, **rest}, images, train=True, mutable=list(rest))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), activations

    return loss
