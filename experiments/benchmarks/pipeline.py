"""How many images a second does each stage from the disk to a training step take, and which one is the slowest?

Measures reading, decoding, cropping, the way to the device and the step alone, and the whole pipeline with some
numbers of workers beside decoding and cropping alone, in turns. Without a folder of photographs it makes some of
ImageNet's shape, which are nobody's.

    python -m experiments.benchmarks.pipeline
    python -m experiments.benchmarks.pipeline --folder imagenet --network.name resnet50 --batch-size 256 --workers 16

Expected: a worker delivers at least 0.9 of what decoding and cropping alone do on a core of its own.
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnnjax import runtime
from cnnjax.data import Augmentation, DataConfig, Dataset, StoredImages, apply_augmentation, load, streamed_batches
from cnnjax.data.decode import decode_one
from cnnjax.data.framing import AS_IT_IS
from cnnjax.errors import InputError
from cnnjax.runs import Progress, Table, main, open_run, show_tables
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.ranges import check_named, check_ranges
from cnnjax.training import Settings, StepSpec, TrainConfig, batch_step, init_state
from experiments.benchmarks.made_photographs import make_photographs
from experiments.benchmarks.measure import Ratio, interleave, speed_ratio

TAKES = "about three minutes on two cores"

TOLD = 96
"""Images that a worker may have decoded before the clock starts: those of its parts on the way."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    folder: Path | None = None
    """Photographs in folders of classes; where there is none they are made (by default in the run directory)."""
    images: int = 256
    """Photographs to make."""
    classes: int = 16
    """Their classes."""
    size: int = 224
    """Height and width of what a network sees, in pixels."""
    network: NetworkConfig = dataclasses.field(default_factory=lambda: NetworkConfig.of("resnet18"))
    batch_size: int = 32
    """Images in a step."""
    workers: tuple[int, ...] = (0, 1, 2)
    """Processes that decode; 0: threads of this one, as many as there are cores."""
    rounds: int = 3
    """How often each stage and the pipeline are measured, in turns."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_pipeline/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure every stage and the pipeline, print the tables, write them, and return the run directory."""
    check_ranges(config)
    check_named(config, "workers")
    runtime.configure()
    with open_run("benchmarks_pipeline", config, out=config.out) as directory:
        with Progress(1 + len(config.workers)) as progress:
            progress.cell("stages")
            folder = config.folder or directory.path / "photographs"
            if not folder.is_dir():
                progress.status("making photographs")
                make_photographs(folder, config.images, classes=config.classes, tests=config.classes)
            data = DataConfig("folder", folder, size=config.size, fit="center", crop_area=0.08, workers=0)
            dataset = load(data, stream=True, progress=progress.prepare)
            train = dataset.train.images
            assert isinstance(train, StoredImages)
            if len(train) < config.batch_size:
                raise InputError(f"batch_size={config.batch_size} of {len(train)} photographs: give fewer")
            stages = _stages(config, dataset, train)
            rates = {name: config.batch_size / taken for name, taken in stages.items()}
            rows = [{"stage": name, "images/s": f"{np.median(rate):,.1f}"} for name, rate in rates.items()]
            piped = []
            for workers in config.workers:
                progress.cell(f"{workers} workers")
                piped.append(_piped(config, dataset, dataclasses.replace(train, workers=workers), workers))
        decoding = float(np.median(rates["read, decode and crop"])) * (os.cpu_count() or 1)
        alone = {"decoding and cropping on all cores": decoding, "the way to the device": np.median(rates["transfer"])}
        alone["the step"] = np.median(rates["step"])
        slowest = min(alone, key=lambda name: alone[name])
        about = (
            f"{len(train):,} photographs, {config.size}×{config.size} pixels, batches of {config.batch_size}, "
            f"{config.network.name} on {jax.default_backend()}, {os.cpu_count()} cores; medians of {config.rounds}. "
            f"The slowest is {slowest}: {alone[slowest]:,.1f} images/s."
        )
        ratio = "Ratio: images/s of a worker over those of reading, decoding and cropping alone; median (quartiles)."
        tables = [Table(rows, "Each stage alone, on one core but for the step", about)]
        show_tables(directory, [*tables, Table(piped, "The pipeline", ratio)])
        return directory.path


def _stages(config: Config, dataset: Dataset, train: StoredImages) -> dict[str, np.ndarray]:
    """Seconds for a batch of each stage, round by round."""
    indices, rows = np.arange(config.batch_size), list(range(config.batch_size))
    numbers = [(0, row) for row in rows]
    named = train.encoded.read(rows)
    contents = [(name, content if isinstance(content, bytes) else content.read_bytes()) for name, content in named]
    channels, pixels = train.shape[-1], train.decoded(indices, numbers)
    labels = dataset.train.labels[: config.batch_size].astype(np.int32)
    stages: dict[str, Callable[[], object]] = {
        "read": lambda: [len(c) if isinstance(c, bytes) else len(c.read_bytes()) for _, c in train.encoded.read(rows)],
        "decode": lambda: [decode_one(name, content, channels, AS_IT_IS).shape for name, content in contents],
        "read, decode and crop": lambda: train.decoded(indices, numbers),
        "transfer": lambda: jax.block_until_ready(jax.device_put(pixels)),
        "step": _step(config, dataset, pixels, labels),
    }
    return interleave(stages, seconds=0, rounds=config.rounds)


def _step(config: Config, dataset: Dataset, pixels: np.ndarray, labels: np.ndarray) -> Callable[[], Any]:
    model, key = build(config.network, dataset), jax.random.key(0)
    spec = StepSpec(model, "sgd", config.batch_size, apply_augmentation)
    hyper = TrainConfig(epochs=1, batch_size=config.batch_size).hyper(len(dataset.train.labels))
    settings = Settings(hyper, Augmentation(flip=0.5).as_arrays())
    state = init_state(spec, key, pixels.shape[1:])
    batch = jax.device_put((pixels, labels))
    program = runtime.jit(lambda state, pixels, labels: batch_step(spec, state, key, pixels, labels, settings))
    return lambda: jax.block_until_ready(program(state, *batch))


def _piped(config: Config, dataset: Dataset, images: StoredImages, workers: int) -> dict[str, Any]:
    """Images a second of the pipeline and of its work alone, measured in turns, and their ratio for each worker."""
    each = workers or os.cpu_count() or 1
    first = math.ceil(TOLD * each / config.batch_size) + 1
    steps = first + math.ceil(2 * TOLD * each / config.batch_size)
    places = np.arange(config.batch_size)
    alone, pipeline = [], []
    for _ in range(config.rounds):
        began = time.perf_counter()
        images.decoded(places, [(0, int(place)) for place in places])
        alone.append((time.perf_counter() - began) / config.batch_size)
        keys = jax.random.split(jax.random.key(0), 1)
        options = dict(batch_size=config.batch_size, stop=steps)
        came = []  # that workers end, after the last batch, takes as long as some batches
        for _ in streamed_batches(keys, images, dataset.train.labels, **options):
            came.append(time.perf_counter())
        pipeline.append((came[-1] - came[first - 1]) / (config.batch_size * (steps - first)))
    ratio: Ratio = speed_ratio(np.array(pipeline) * each, np.array(alone))
    return {
        "workers": workers or f"{each} threads",
        "images/s": f"{1 / np.median(pipeline):,.1f}",
        "each": f"{1 / np.median(pipeline) / each:,.1f}",
        "alone": f"{1 / np.median(alone):,.1f}",
        "ratio": str(ratio),
    }


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.pipeline")
