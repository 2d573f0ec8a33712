"""How many images a network needs to reach an error: trained on more and more of them until it does."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from cnnjax.reporting import Report, silent
from experiments.sample_complexity.networks import Kind, Recipe, scores, train
from experiments.sample_complexity.task import Task, draw_images, draw_signal, linear_floor

STEP = 2**0.5
"""By what the number of images grows from one training to the next."""


PILOT_SEED = 10**6
"""The seed of the first pilot: no repetition has it."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What is asked of every network, and how it is trained."""

    target: float
    """The error to reach."""
    most: int
    """Images to learn from at most."""
    test_images: int
    steps: int
    learning_rate: float


class Need(NamedTuple):
    """What one repetition needs."""

    images: float
    """Images at which the error reaches the target, interpolated; NaN where it does not."""
    training_error: float
    """That of the network which reached it, or of the last one."""


def choose_threshold(kind: Kind, task: Task, search: Search, thresholds: Sequence[float], pilots: int) -> float | None:
    """That of the `thresholds` with which `pilots` repetitions need the fewest images; None where none reaches.

    Thresholds are in units of σ √(log k). A pilot gives up on one where it needs more images than with another. At a
    threshold of 0 every network is linear, so it is left out where no linear classifier has so small an error.
    """
    best: tuple[float, float] | None = None
    fewest = [float(search.most)] * pilots
    for threshold in thresholds:
        if threshold == 0 and linear_floor(task) >= search.target:
            continue
        needs = []
        for pilot in range(pilots):
            limited = dataclasses.replace(search, most=math.ceil(fewest[pilot]))
            (found,) = all_needed([PILOT_SEED + pilot], kind, task, limited, threshold)
            need = found.images
            if math.isnan(need):
                # Not by one pilot's luck: it counts as what it is known to exceed.
                if best is None:
                    break
                need = STEP * fewest[pilot]
            needs.append(need)
        if len(needs) < pilots:
            continue
        total = sum(map(math.log, needs))
        if best is None or total < best[0]:
            best = (total, threshold)
        fewest = [min(pair) for pair in zip(fewest, needs, strict=True)]
    return None if best is None else best[1]


def all_needed(
    seeds: Sequence[int], kind: Kind, task: Task, search: Search, threshold: float, *, progress: Report = silent
) -> list[Need]:
    """`images_needed` of each seed, as many at the same time as there are cores.

    Each has one thread for its products: with two for each, which wait busily for one another, a need took 9 times as
    much of two cores beside other work.
    """
    needs: list[Need] = []
    with threadpool_limits(1, user_api="blas"):
        pool = ThreadPoolExecutor(min(len(seeds), os.cpu_count() or 1))
        try:
            for need in pool.map(lambda seed: images_needed(seed, kind, task, search, threshold), seeds):
                needs.append(need)
                progress(len(needs), len(seeds), f"{need.images:.0f} images")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return needs


def images_needed(seed: int, kind: Kind, task: Task, search: Search, threshold: float) -> Need:
    """Train on more and more images, until the error on `search.test_images` others is at most the target.

    A seed fixes the signal, the images to test on, and, for each number of them, the images to learn from. Between the
    last number above the target and the first that is not, the logarithm of the number is interpolated.
    """
    random = np.random.default_rng((seed, 0))
    signal = draw_signal(random, task)
    shown, answers = draw_images(random, search.test_images, task, signal)
    part = threshold * task.noise * math.sqrt(math.log(task.patches))
    recipe = Recipe(part, search.steps, search.learning_rate)

    def errors(count: int) -> tuple[float, float]:
        mine = np.random.default_rng((seed, 1, count))
        images, labels = draw_images(mine, count, task, signal)
        weights = train(mine, kind, images, labels, recipe)
        tested, fitted = (
            float((scores(kind, weights, x, recipe.threshold) * y <= 0).mean())
            for x, y in ((shown, answers), (images, labels))
        )
        return tested, fitted

    return first_crossing(errors, counts(search.most), search.target)


def counts(most: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 11, ... up to `most`: two steps to a doubling."""
    step = 0
    while (count := round(STEP**step)) <= most:
        if step != 1:  # which rounds to 1 again
            yield count
        step += 1


def first_crossing(errors: Callable[[int], tuple[float, float]], numbers: Iterator[int], target: float) -> Need:
    """The need where `errors`, of test and of training, of growing `numbers` of images first are at most `target`."""
    before: tuple[int, float] | None = None
    training = float("nan")
    for count in numbers:
        error, training = errors(count)
        if error <= target:
            if before is None:
                return Need(float(count), training)
            last, above = before
            part = (above - target) / (above - error)
            return Need(float(last * (count / last) ** part), training)
        before = (count, error)
    return Need(float("nan"), training)
