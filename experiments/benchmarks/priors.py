"""PatchMatch and hole filling against the exact search and other programs, on photographs that packages carry.

First table: the mean distance that PatchMatch reaches in five iterations, relative to the exact nearest patches', and
its speed, with the images' preparation and without. Second: the central hole of 64×64 pixels in ten images of
256×256, filled by cnnjax, PyPatchMatch, OpenCV and scikit-image, in turn in one process, with several keys where
chance has a part. PSNR rewards blur, so two more numbers stand beside it: sharpness, the gradient's energy between
pixels of the hole relative to the truth's (1 is right; the seam, from a pixel of the hole to a known one, does not
count), and coherence, the mean distance of the hole's patches to the nearest known one, in grey levels.

    python -m experiments.benchmarks.priors

The same command goes on where a killed one was. Needs pip install scikit-image opencv-python-headless PyPatchMatch
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import data, patches, runtime
from cnnjax.data.require import require
from cnnjax.errors import InputError
from cnnjax.runs import Progress, Table, main, open_run, show_tables

TAKES = "some ten minutes on two cores, most of it the exact searches"

PAIRS = (("motorcycle_right", "motorcycle", 0), ("astronaut", "astronaut", 7), ("flower", "china", 0))
"""Source, target, and the exclusion radius."""

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle", "china", "flower", *data.TEXTURES)

_SIDE, _TOP, _BOTTOM = 256, 96, 160
_PATCH = 7
_ITERATIONS, _FURTHER = 5, 20


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    images: tuple[str, ...] = PHOTOGRAPHS
    """What to fill the hole in: carried images or files."""
    pairs: int = len(PAIRS)
    """How many of the pairs to search."""
    repeats: int = 5
    """Keys, for the spread of the search, of what fills the hole, and of the times."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_priors/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure, print both tables, write them as Markdown, and return the run directory."""
    if config.repeats < 1 or not 0 <= config.pairs <= len(PAIRS) or not config.images:
        raise InputError(f"give repeats of at least 1, pairs of 0 to {len(PAIRS)}, and at least one of images")
    import pandas as pd

    programs = _programs()
    runtime.configure()
    tables = []
    with open_run("benchmarks_priors", config, out=config.out) as directory:
        with Progress(config.pairs + len(config.images)) as progress:
            searches, fillings = [], []
            for pair in PAIRS[: config.pairs]:
                search = partial(_search, *pair, repeats=config.repeats)
                searches += directory.once(f"search-{pair[1]}", "result.json", search, progress=progress)
            for name in config.images:
                fill = partial(_fill, name, programs, config.repeats)
                fillings += directory.once(f"fill-{Path(name).stem}", "result.json", fill, progress=progress)
        if searches:
            about = (
                f"Mean RMS distance after {_ITERATIONS} iterations over the exact one's; {_PATCH}×{_PATCH} patches, "
                f"median (least to greatest) of {config.repeats} keys. Speed in megapixels times iterations per "
                f"second, with what prepares the images, compilation aside; of further ones: of {_FURTHER} "
                f"iterations after these, by themselves. {jax.default_backend()}, jax {jax.__version__}."
            )
            tables.append(Table(searches, "PatchMatch", about, digits=3))
        table = pd.DataFrame(fillings)
        directory.write_table("summary", table)
        about = (
            f"Mean over {len(config.images)} images of {_SIDE}², hole of {_BOTTOM - _TOP}², and its mean ± standard "
            f"deviation over {config.repeats} keys; seconds: mean over the images of the median of the keys after a "
            f"first run, by the clock and of all processors; the first took cnnjax {fillings[0]['first']:.0f} s."
        )
        tables.append(Table(_over_keys(table), "A hole filled", about, digits=2))
        about = "Mean distance of the hole's patches to the nearest known, in grey levels, and over the keys."
        coherence = table.pivot_table("coherence", "image", "program", sort=False).reset_index()
        tables.append(Table(coherence.to_dict("records"), "Coherence", about, digits=2))
        show_tables(directory, tables)
        return directory.path


def _search(source_name: str, target_name: str, exclusion: int, *, repeats: int) -> list[dict[str, Any]]:
    source, target = (
        jnp.asarray(data.resize(image, (image.shape[0] // 2, image.shape[1] // 2)))
        for image in map(data.load_image, (source_name, target_name))
    )
    exact = float(jnp.sqrt(patches.nearest_patches(source, target, exclusion=exclusion).distance).mean())
    millions = target.shape[0] * target.shape[1] / 1e6

    def timed(seed: int, iterations: int) -> tuple[patches.NearestPatches, float]:
        begin = time.perf_counter()
        found = patches.patchmatch(source, target, key=jax.random.key(seed), exclusion=exclusion, iterations=iterations)
        return jax.block_until_ready(found), time.perf_counter() - begin

    timed(0, _ITERATIONS)  # compiles
    ratios, speeds, further = [], [], []
    for seed in range(1, repeats + 1):
        found, seconds = timed(seed, _ITERATIONS)
        ratios.append(float(jnp.sqrt(found.distance).mean()) / exact)
        speeds.append(_ITERATIONS * millions / seconds)
        further.append(_FURTHER * millions / (timed(seed, _ITERATIONS + _FURTHER)[1] - seconds))
    return [
        {
            "pair": f"{source_name} to {target_name}",
            "pixels": f"{target.shape[1]}×{target.shape[0]}",
            "exact, grey levels": 255 * exact,
            "relative": _spread(ratios),
            "megapixel-iterations/s": _spread(speeds),
            "of further ones": _spread(further),
        }
    ]


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def _over_keys(table: Any) -> list[dict[str, Any]]:
    """A row for each program: the mean over the images, and its spread over the keys."""
    rows = []
    for program, runs in table.groupby("program", sort=False):
        means = runs.groupby("key")[["PSNR", "sharpness", "coherence"]].mean()
        quality = {name: _with_deviation(means[name]) for name in means}
        seconds = runs.groupby("image")[["seconds", "of processors"]].median().mean()
        rows.append({"program": program, **quality, **seconds})
    return rows


def _with_deviation(values: Any) -> str:
    """A mean and the standard deviation, where there is one."""
    mean, deviation = values.mean(), values.std(ddof=1)
    if not np.isfinite(mean):
        return "–"
    return f"{mean:.2f} ± {deviation:.2f}" if deviation > 0 else f"{mean:.2f}"


def _programs() -> dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]]:
    """What fills a hole: functions of an image with values in [0, 1], a mask, and the number of a key."""
    purpose = "the comparison"
    cv2 = require("cv2", purpose=purpose, install="opencv-python-headless")
    peer = require("patchmatch.patch_match", purpose=purpose, install="PyPatchMatch")
    biharmonic = require("skimage.restoration", purpose=purpose, install="scikit-image").inpaint_biharmonic

    def levels(image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.round(image * 255).astype(np.uint8))

    def pypatchmatch(size: int) -> Callable[[np.ndarray, np.ndarray, int], np.ndarray]:
        def fill(image: np.ndarray, mask: np.ndarray, key: int) -> np.ndarray:
            peer.set_random_seed(key)
            radius = size // 2  # which is what its patch_size means
            return peer.inpaint(levels(image), mask, patch_size=radius) / np.float32(255)

        return fill

    return {
        "cnnjax": lambda image, mask, key: patches.inpaint(image, mask, key=jax.random.key(key), patch_size=_PATCH),
        "PyPatchMatch, 7×7": pypatchmatch(7),
        "PyPatchMatch, 11×11": pypatchmatch(11),
        "PyPatchMatch, 15×15": pypatchmatch(15),
        "OpenCV Telea": lambda image, mask, _: (
            cv2.inpaint(levels(image), mask.astype(np.uint8), 5, cv2.INPAINT_TELEA) / np.float32(255)
        ),
        "scikit-image biharmonic": lambda image, mask, _: biharmonic(image, mask, channel_axis=-1),
    }


def _fill(name: str, programs: dict[str, Callable], repeats: int) -> list[dict[str, Any]]:
    truth = data.central_square(data.load_image(name), _SIDE)
    truth = np.round(truth * 255).astype(np.float32) / np.float32(255)  # what every program can return
    hole = np.zeros((_SIDE, _SIDE), bool)
    hole[_TOP:_BOTTOM, _TOP:_BOTTOM] = True
    given = np.where(hole[:, :, None], np.float32(0), truth)
    rows = []
    for program, fill in programs.items():
        quality, before = {}, None
        begin = time.perf_counter()
        fill(given, hole, 0)
        first = time.perf_counter() - begin
        for key in range(repeats):
            wall, processors = time.perf_counter(), time.process_time()
            filled = fill(given, hole, key)
            seconds = {"seconds": time.perf_counter() - wall, "of processors": time.process_time() - processors}
            if before is None or not np.array_equal(filled, before):  # some draw nothing
                quality, before = _quality(truth, np.clip(filled, 0, 1).astype(np.float32), hole), filled
            rows.append({"image": name, "program": program, "key": key, **quality, **seconds, "first": first})
    return [*rows, {"image": name, "program": "truth", "key": 0, **_quality(truth, truth, hole)}]


def _quality(truth: np.ndarray, filled: np.ndarray, hole: np.ndarray) -> dict[str, float]:
    inside = slice(_TOP, _BOTTOM)
    error = float(np.mean((truth - filled)[inside, inside] ** 2))
    window = slice(_TOP - _PATCH + 1, _BOTTOM + _PATCH - 1)
    nearest = patches.nearest_patches(
        jnp.asarray(filled), jnp.asarray(filled[window, window]), patch_size=_PATCH, mask=jnp.asarray(hole)
    )
    return {
        "PSNR": -10 * np.log10(error) if error else np.inf,
        "sharpness": _gradient(filled[inside, inside]) / _gradient(truth[inside, inside]),
        "coherence": 255 * float(jnp.sqrt(nearest.distance).mean()),
    }


def _gradient(image: np.ndarray) -> float:
    return float(sum(np.sum(np.diff(image, axis=axis) ** 2) for axis in (0, 1)))


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.priors", can_tell=False)
