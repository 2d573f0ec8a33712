"""Small valid calls of a study's statistics, records and figures."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pandas

from cnnjax import study
from experiments.benchmarks.wrong_arguments.matrix import Arguments

RANDOM = np.random.default_rng(0)
CURVES, MAPS = {"a": RANDOM.random((2, 4)), "b": RANDOM.random((2, 4))}, {"a": RANDOM.random((3, 3))}
VALUES = {"a": [0.1, 0.2, 0.3], "b": [0.2, 0.3, 0.5]}
SUMMARY = pandas.DataFrame(
    [{"cell": c, "seed": i, "accuracy": v} for c, vs in VALUES.items() for i, v in enumerate(vs)]
)
SCORES = pandas.DataFrame([{"cell": "a", "score": "accuracy", "mean": 0.5, "low": 0.4, "high": 0.6, "n": 5}])
METRICS = pandas.DataFrame([{"cell": "a", "seed": 0, "epoch": e, "loss": 1.0, "accuracy": 0.5} for e in (1, 2)])
ROWS = [{"cell": "a", "accuracy": study.Interval(0.5, 0.4, 0.6, 5)}]
IMAGE, PICTURES = RANDOM.random((8, 8)), RANDOM.random((2, 3, 5, 5, 1))
GREY = IMAGE[..., None]
COVERED = study.Covered(
    RANDOM.random((6, 6, 1)), RANDOM.random((3, 3)), RANDOM.random((6, 6, 1)), RANDOM.random((3, 3)),
    RANDOM.integers(0, 2, (3, 3)), label="cat", channel=0,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study varies."""

    size: int = 1


@dataclasses.dataclass(frozen=True)
class Square:
    """A receptive field of 3 pixels."""

    size: tuple[int, ...] = (3, 3)
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (1, 1)
    units: tuple[int, ...] = (8, 8)
    image_size: tuple[int, ...] = (8, 8)

    def span(self, unit: Any) -> tuple[tuple[int, int], ...]:
        """The pixels about the unit."""
        return tuple((i - 1, i + 1) for i in unit)


@dataclasses.dataclass(frozen=True, eq=False)
class Spot:
    """Weights that fall from the middle."""

    mass: Any = dataclasses.field(default_factory=lambda: np.full((8, 8), 1 / 64))
    centre: tuple[float, float] = (3.5, 3.5)

    def radius(self, mass: float) -> float:
        """Of any share."""
        return 2.0


def _axes() -> Any:
    from matplotlib.figure import Figure

    return Figure().subplots()


def _figure() -> Any:
    return _axes().figure


def _run() -> pathlib.Path:
    with study.open_run("demo", Config(), root=pathlib.Path("runs")) as run:
        run.log(cell="a", seed=0, loss=1.0)
        run.write_summary(SUMMARY)
    return run.path


CALLS: dict[str, Arguments] = {
    "study.angle_curves": lambda: dict(curves=CURVES, degrees=[0, 90, 180, 270]),
    "study.colours": lambda: dict(cells=["a", "b"]),
    "study.compare": lambda: dict(values=VALUES),
    "study.compare_summary": lambda: dict(summary=SUMMARY, scores=["accuracy"]),
    "study.curves_figure": lambda: dict(panels={"p": ([0, 1], {"x": [1, 2]})}, ylabel="d", title="t"),
    "study.depth_figure": lambda: dict(fields={"a": Square()}),
    "study.draw_effective_field": lambda: dict(axes=_axes(), weights=Spot(), field=Square()),
    "study.draw_receptive_fields": lambda: dict(axes=_axes(), image=IMAGE, fields={"a": Square()}),
    "study.effect_size": lambda: dict(differences=[0.1, 0.2, 0.3]),
    "study.effective_field_figure": lambda: dict(weights={"a": Spot()}, fields={"a": Square()}),
    "study.evolution_figure": lambda: dict(
        pictures=PICTURES, patches=PICTURES, rows=["a", "b"], columns=["1", "2", "3"], title="t"
    ),
    "study.filter_figure": lambda: dict(kernel=RANDOM.normal(size=(3, 3, 3, 2)), title="t"),
    "study.format_interval": lambda: dict(interval=study.Interval(0.5, 0.4, 0.6, 5)),
    "study.grid": lambda: dict(config=Config(), axes={"size": [1, 2]}),
    "study.holm": lambda: dict(p=[0.01, 0.2]),
    "study.main": lambda: dict(config_class=Config, run=lambda config: pathlib.Path(), prog="demo"),
    "study.markdown": lambda: dict(rows=ROWS),
    "study.montage_figure": lambda: dict(blocks=[study.MapTiles("m", PICTURES[0], PICTURES[0])], title="t"),
    "study.mosaic": lambda: dict(tiles=PICTURES[0], across=2),
    "study.occlusion_figure": lambda: dict(images=[COVERED], class_names={0: "dog", 1: "cat"}, title="t"),
    "study.open_run": lambda: dict(experiment="demo", config=Config(), root=pathlib.Path("runs")),
    "study.over_images": lambda: dict(columns={"a": [[0.0, 1.0, 1.0]]}, score=lambda means: means["a"], resamples=20),
    "study.over_seeds": lambda: dict(values=[0.1, 0.2, 0.3], resamples=20),
    "study.print_table": lambda: dict(rows=ROWS, title="t"),
    "study.read_config": lambda: dict(path=_run()),
    "study.read_metrics": lambda: dict(path=_run()),
    "study.read_summary": lambda: dict(path=_run()),
    "study.receptive_field_figure": lambda: dict(image=IMAGE, fields={"a": Square()}),
    "study.save": lambda: dict(figure=_figure(), path=pathlib.Path("figure.png")),
    "study.score_dots": lambda: dict(scores=SCORES),
    "study.sheet_figure": lambda: dict(sheets=[[GREY, GREY]], rows=["a"], columns=["1", "2"], title="t"),
    "study.signed_grey": lambda: dict(pictures=PICTURES[0]),
    "study.training_curves": lambda: dict(metrics=METRICS),
    "study.translation_maps": lambda: dict(maps=MAPS),
    "study.write_page": lambda: dict(
        path=pathlib.Path("page.html"), title="t", sections=[study.Section("s", [study.Code("x")])]
    ),
}
