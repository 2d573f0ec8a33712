"""How much faster do cells that differ only in numbers train side by side than one after the other?

Cells of several learning rates, weight decays and strengths of augmentation, with several seeds each, take the same
steps in three ways: one network after the other; cell after cell, the seeds of each in one program; and
all networks in one program. The three take turns, so that other work on the machine falls on all of them, and must
come to the same weights.

    python -m experiments.benchmarks.parallel_cells

Expected: which of them is quickest depends on the network and the backend; `cnnjax.training.execution` decides which of
them a backend is given, and says by what figures. Strengths that networks share are skipped where they are 0; of their
own, both ways are computed.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import models, runtime
from cnnjax.data import Augmentation, apply_augmentation
from cnnjax.errors import InputError
from cnnjax.runs import Progress, Table, main, open_run, show_tables
from cnnjax.training import Epoch, Settings, StepSpec, TrainConfig, init_states, run_steps, stack
from experiments.benchmarks.measure import interleave, speed_ratio

TAKES = "about a minute on two cores"

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: models.MLP(num_classes=10, widths=(64,)),
    "all_conv": lambda: models.AllConv(num_classes=10, widths=(16, 32, 64), depth=1, head_width=64),
    "resnet": lambda: models.ResNet(num_classes=10, widths=(8, 16, 32), depth=1),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    networks: tuple[Literal["mlp", "all_conv", "resnet"], ...] = ("mlp", "all_conv")
    """Which networks to train."""
    cells: int = 4
    """Cells, which differ in learning rate, weight decay and strength of augmentation."""
    seeds: int = 2
    """Networks in each cell."""
    side: int = 16
    """Height and width of the images, in pixels."""
    batch_size: int = 32
    """Images in a step."""
    steps: int = 4
    """Steps that are timed at once."""
    seconds: float = 5.0
    """How long each network is measured, the ways in turn."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_parallel_cells/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure every network, print the table, write it as Markdown, and return the run directory."""
    for name in ("cells", "seeds", "side", "batch_size", "steps"):
        if getattr(config, name) < 1:
            raise InputError(f"{name}={getattr(config, name)} must be at least 1")
    if config.seconds <= 0 or not config.networks:
        raise InputError(f"seconds={config.seconds} must be positive, and networks={config.networks} name at least one")
    runtime.configure()
    with open_run("benchmarks_parallel_cells", config, out=config.out) as directory:
        rows = []
        with Progress(len(config.networks)) as progress:
            for name in config.networks:
                progress.cell(name)
                progress.status("compiling and measuring")
                rows.append({"network": name, **_measured(NETWORKS[name](), config)})
        device = jax.devices()[0]
        caption = (
            f"{config.cells} cells of {config.seeds} seeds, {config.steps} steps of {config.batch_size} images of "
            f"{config.side}×{config.side} pixels, on {device.device_kind} ({device.platform}). ms: for one step of one "
            "network, one after the other. Ratios: the time of one after the other over that side by side, median "
            "(quartiles) over rounds in turn; above 1 side by side is faster."
        )
        show_tables(directory, [Table(rows, "Cells side by side", caption, digits=2)])
        return directory.path


def _measured(model: nn.Module, config: Config) -> dict[str, Any]:
    spec = StepSpec(model, "sgd", config.batch_size, apply_augmentation)
    random, n = np.random.default_rng(0), config.batch_size * config.steps
    images = jnp.asarray(random.integers(0, 256, (n, config.side, config.side, 1), np.uint8))
    labels = jnp.asarray(random.integers(0, 10, n), jnp.int32)
    settings = [
        Settings(
            TrainConfig(
                epochs=10, batch_size=config.batch_size, learning_rate=0.02 / (i + 1), weight_decay=i * 1e-4
            ).hyper(n),
            Augmentation(crop=i, rotation=10.0 * i).as_arrays(),
        )
        for i in range(config.cells)
    ]
    each = stack([one for one in settings for _ in range(config.seeds)])
    states = init_states(spec, range(config.seeds), images.shape[1:])
    keys = jnp.stack([jax.random.key(seed) for seed in range(config.seeds)])
    orders = jax.vmap(lambda key: jax.random.permutation(key, n))(keys)

    def of_all(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.concatenate([leaf] * config.cells), tree)

    all_states, all_keys, all_orders = of_all(states), of_all(keys), of_all(orders)

    def fresh(tree: Any) -> Any:
        return jax.tree.map(jnp.copy, tree)  # what comes in is donated

    def trained(together: bool) -> Any:
        found, _ = run_steps(
            spec,
            fresh(all_states),
            config.steps,
            all_keys,
            Epoch(all_orders, images, labels),
            each,
            own=True,
            together=together,
        )
        return jax.block_until_ready(found)

    def cell_by_cell() -> Any:
        found = [
            run_steps(spec, fresh(states), config.steps, keys, Epoch(orders, images, labels), one, together=True)[0]
            for one in settings
        ]
        return jax.block_until_ready(jax.tree.map(lambda *parts: jnp.concatenate(parts), *found))

    programs = {
        "apart": lambda: trained(False),
        "seeds": cell_by_cell,
        "all": lambda: trained(True),
    }
    expected = programs["apart"]()
    for way in ("seeds", "all"):
        _agree(programs[way]().variables, expected.variables, way)
    taken = interleave(programs, seconds=config.seconds)
    networks = config.cells * config.seeds
    return {
        "networks": networks,
        "ms": float(np.median(taken["apart"])) * 1000 / (networks * config.steps),
        "seeds in one program": str(speed_ratio(taken["seeds"], taken["apart"])),
        "all in one program": str(speed_ratio(taken["all"], taken["apart"])),
    }


def _agree(ours: Any, theirs: Any, way: str) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        if not np.allclose(a, b, rtol=1e-2, atol=1e-3):
            raise ArithmeticError(f"{way} in one program comes to other weights, by up to {np.abs(a - b).max():.2g}")


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.parallel_cells", can_tell=False)
