"""How many units of AlexNet are mapped back to pixels in a second, and how many does captum map?

One image of 224×224 pixels, the maximum of every map of the fifth convolution, the same random weights in both. Five
programs take turns, so that other work on the machine falls on all: `Projector` (one forward pass, then the units in
batches, each through the windows that it reads), captum's `NeuronDeconvolution` (a forward pass for each unit), a
forward pass of this network, once for each unit, and `saliency` of all units in one call and in a call for each.
Of those that go unit by unit some are timed. The pictures of the first two must agree. Time is taken by the wall and by
the processor: the second says what the work costs where other programs keep the cores busy.

    pip install captum torch
    python -m experiments.benchmarks.visualise

The aim, ten times both peers, holds only against captum: a unit's way back is 130 million multiply-adds even in its
windows, a forward pass 655 million.
"""

import dataclasses
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import analysis, models, runtime
from cnnjax.errors import InputError
from cnnjax.runs import Table, main, open_run, show_tables
from experiments.benchmarks.measure import interleave, speed_ratio

TAKES = "about a minute on two free cores"

LAYER = "conv5"
NAMES = {
    "projector": "Projector",
    "captum": "captum",
    "forward": "a forward pass for each unit",
    "all": "saliency of all units in a call",
    "each": "saliency, a call for each unit",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    side: int = 224
    """Height and width of the image, in pixels."""
    batch_size: int = 32
    """How many units go down at a time."""
    sample: int = 8
    """Of how many units captum and the forward passes are timed in each round."""
    seconds: float = 60.0
    """How long to measure, all programs together."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_visualise/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure, print the table, write it as Markdown, and return the run directory."""
    for name in ("batch_size", "sample", "seconds"):
        if getattr(config, name) <= 0:
            raise InputError(f"{name}={getattr(config, name)} must be positive")
    if config.side < 63:
        raise InputError(f"side={config.side} leaves no map behind AlexNet's pools: give at least 63")
    runtime.configure()
    with open_run("benchmarks_visualise", config, out=config.out) as directory:
        image = np.random.default_rng(0).random((config.side, config.side, 3), np.float32)
        model = models.alexnet_one_tower(
            num_classes=10, dense_widths=(8, 8), kernel_init=jax.nn.initializers.he_normal()
        )
        variables = model.init(jax.random.key(0), jnp.asarray(image)[None])
        forward = models.bind(model, variables)
        projector = analysis.Projector(forward, LAYER, batch_size=config.batch_size)
        found = projector(image)
        units = found.units[: config.sample]
        captum = _captum(variables["params"], image, units)
        layer = runtime.jit(lambda x: forward(x)[1][LAYER])
        for ours, value, theirs in zip(found.pictures, found.values, captum(), strict=False):
            if np.abs(ours - value * theirs).max() > 1e-4 * np.abs(ours).max():
                raise ArithmeticError("the pictures differ from captum's")
        programs = {
            "projector": lambda: projector(image),
            "captum": captum,
            "forward": lambda: [layer(jnp.asarray(image)[None]).block_until_ready() for _ in units],
            "all": lambda: analysis.saliency(forward, image[None], LAYER, "all", batch_size=config.batch_size),
            "each": lambda: [analysis.saliency(forward, image[None], LAYER, tuple(map(int, u))) for u in units],
        }
        used: dict[str, list[float]] = {name: [] for name in programs}
        clocked = {name: _clocked(program, used[name]) for name, program in programs.items()}
        taken = interleave(clocked, seconds=config.seconds)
        counts = {name: len(found.units if name in ("projector", "all") else units) for name in programs}
        each = {name: seconds / counts[name] for name, seconds in taken.items()}
        # Without the calls that compiled and warmed up.
        busy = {name: np.asarray(used[name][-len(each[name]) :]) / counts[name] for name in programs}
        rows = [
            {
                "program": NAMES[name],
                "units/s": f"{1 / np.median(seconds):.1f}",
                "ms per unit": f"{1000 * np.median(seconds):.1f}",
                "CPU ms per unit": f"{1000 * np.median(busy[name]):.1f}",
                "Projector's speed over it": str(speed_ratio(each["projector"], seconds)),
                "by CPU time": str(speed_ratio(busy["projector"], busy[name])),
            }
            for name, seconds in each.items()
        ]
        caption = (
            f"AlexNet (one tower, random weights), {config.side}×{config.side} pixels, {len(found.units)} maps of "
            f"{LAYER}, batches of {config.batch_size}. "
            f"Ratios: median (quartiles) over {len(each['captum'])} rounds in turn. CPU time is that of all threads."
        )
        show_tables(directory, [Table(rows, "Units mapped back to pixels", caption)])
        return directory.path


def _clocked(program: Callable[[], object], used: list[float]) -> Callable[[], None]:
    """A program that notes the processor's seconds that it has used."""

    def clocked() -> None:
        begin = time.process_time()
        program()
        used.append(time.process_time() - begin)

    return clocked


def _captum(params: Any, image: np.ndarray, units: np.ndarray) -> Callable[[], list[np.ndarray]]:
    """The pictures of the units, of activation 1, by captum."""
    try:
        import torch

        captum = importlib.import_module("captum.attr")
    except ImportError as error:
        raise InputError(f"the peer is captum, and {error.name} is missing: pip install captum torch") from error
    import warnings

    from torch import nn

    layers: list[nn.Module] = []
    for number, (stride, padding) in enumerate(((4, 2), (1, 2), (1, 1), (1, 1), (1, 1)), 1):
        kernel, bias = (torch.from_numpy(np.array(params[f"conv{number}"][name])) for name in ("kernel", "bias"))
        conv = nn.Conv2d(*kernel.shape[2:], kernel_size=kernel.shape[0], stride=stride, padding=padding)
        conv.weight.data, conv.bias.data = kernel.permute(3, 2, 0, 1).contiguous(), bias  # pyright: ignore
        layers += [conv, nn.ReLU(), *([nn.MaxPool2d(3, 2)] if number < 3 else [])]

    class Standardised(nn.Sequential):
        def forward(self, input: Any) -> Any:
            return super().forward((input - 0.5) * 255)

    attribution = captum.NeuronDeconvolution(Standardised(*layers), layers[-1])
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].requires_grad_()
    selectors = [(int(c), int(i), int(j)) for i, j, c in units]

    def pictures() -> list[np.ndarray]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of the hooks that it sets and removes
            found = [attribution.attribute(pixels, neuron_selector=selector) for selector in selectors]
        return [picture[0].detach().numpy().transpose(1, 2, 0) for picture in found]

    return pictures


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.visualise", can_tell=False)
