"""Small valid calls of runs, statistics, figures and exercises."""

import dataclasses
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas

from cnnjax import analysis, figures, models, ops, runs, stats
from cnnjax.runs.folder import Folder
from experiments.benchmarks.wrong_arguments.matrix import Arguments

RANDOM = np.random.default_rng(0)
CURVES, MAPS = {"a": RANDOM.random((2, 4)), "b": RANDOM.random((2, 4))}, {"a": RANDOM.random((3, 3))}
VALUES = {"a": [0.1, 0.2, 0.3], "b": [0.2, 0.3, 0.5]}
SUMMARY = pandas.DataFrame(
    [{"cell": c, "seed": i, "accuracy": v} for c, vs in VALUES.items() for i, v in enumerate(vs)]
)
SCORES = pandas.DataFrame([{"cell": "a", "score": "accuracy", "mean": 0.5, "low": 0.4, "high": 0.6, "n": 5}])
METRICS = pandas.DataFrame([{"cell": "a", "seed": 0, "epoch": e, "loss": 1.0, "accuracy": 0.5} for e in (1, 2)])
ROWS = [{"cell": "a", "accuracy": stats.Interval(0.5, 0.4, 0.6, 5)}]
IMAGE, PICTURES = RANDOM.random((8, 8)), RANDOM.random((2, 3, 5, 5, 1))
GREY = IMAGE[..., None]
PLACES = np.array([1.0, 3.0, 5.0])
COVERED = analysis.Occlusion(
    RANDOM.random((6, 6, 1)), RANDOM.random((3, 3)), RANDOM.random((6, 6, 1)), RANDOM.random((3, 3)),
    RANDOM.integers(0, 2, (3, 3)), (PLACES, PLACES), channel=0, label=1, in_the_open=(1.0, 0.5, 1),
)  # fmt: skip
SQUARE = analysis.receptive_field(
    lambda images: ops.conv(images, jnp.ones((3, 3, 1, 1))), np.zeros((1, 8, 8, 1), np.float32)
)
SPOT = analysis.EffectiveField(np.full((8, 8), 1 / 64), (3, 3))


@dataclasses.dataclass(frozen=True)
class Config:
    """What the run varies."""

    size: int = 1


def _axes() -> Any:
    from matplotlib.figure import Figure

    return Figure().subplots()


def _figure() -> Any:
    return _axes().figure


def _laid_out() -> Any:
    from matplotlib.figure import Figure

    return Figure(layout="constrained")


def _run() -> runs.RunDirectory:
    with runs.open_run("demo", Config(), root=pathlib.Path("runs")) as run:
        run.log(cell="a", seed=0, loss=1.0)
        run.write_table("summary", SUMMARY)
    return run


def _trained() -> runs.RunDirectory:
    with runs.open_run("demo", Config(), root=pathlib.Path("runs")) as run:
        run.log(cell="a", seed=0, step=1, loss=1.0)
    return run


def _two_runs() -> list[pathlib.Path]:
    """Two runs of the same images."""
    found = []
    for size in (1, 2):
        with runs.open_run("demo", Config(size), root=pathlib.Path("runs")) as run:
            run.write_table("summary", SUMMARY)
            Folder(run.path, run.identity).save_json("data.json", "images")
        found.append(run.path)
    return found


CALLS: dict[str, Arguments] = {
    "figures.angle_curves": lambda: dict(curves=CURVES, degrees=[0, 90, 180, 270]),
    "figures.architecture": lambda: dict(model=models.MLP(num_classes=2, widths=(3,)), image_shape=(4, 4, 1)),
    "course.check": lambda: dict(exercise="output_size", answer=55),
    "figures.colors": lambda: dict(cells=["a", "b"]),
    "stats.compare": lambda: dict(values=VALUES),
    "stats.compare_summary": lambda: dict(summary=SUMMARY, scores=["accuracy"]),
    "figures.comparison_figure": lambda: dict(pictures={"a": IMAGE, "b": -IMAGE}, title="t"),
    "figures.convolution_steps": lambda: dict(x=RANDOM.random((3, 3)), kernel=RANDOM.random((2, 2)), stride=(1, 1)),
    "figures.curves_figure": lambda: dict(panels={"p": ([0, 1], {"x": [1, 2]})}, ylabel="d", title="t"),
    "figures.depth_figure": lambda: dict(fields={"a": SQUARE}),
    "figures.draw_effective_field": lambda: dict(axes=_axes(), weights=SPOT, field=SQUARE),
    "figures.draw_receptive_fields": lambda: dict(axes=_axes(), image=IMAGE, fields={"a": SQUARE}),
    "stats.effect_size": lambda: dict(differences=[0.1, 0.2, 0.3]),
    "figures.effective_field_figure": lambda: dict(weights={"a": SPOT}, fields={"a": SQUARE}),
    "figures.evolution_figure": lambda: dict(
        pictures=PICTURES, patches=PICTURES, rows=["a", "b"], columns=["1", "2", "3"], title="t"
    ),
    "figures.filter_figure": lambda: dict(kernel=RANDOM.normal(size=(3, 3, 3, 2)), title="t"),
    "runs.export_tensorboard": lambda: dict(path=_trained().path),
    "runs.format_interval": lambda: dict(interval=stats.Interval(0.5, 0.4, 0.6, 5)),
    "runs.grid": lambda: dict(config=Config(), axes={"size": [1, 2]}),
    "stats.holm": lambda: dict(p=[0.01, 0.2]),
    "runs.main": lambda: dict(config_class=Config, run=lambda config: pathlib.Path(), prog="demo"),
    "runs.markdown": lambda: dict(rows=ROWS),
    "figures.montage_figure": lambda: dict(blocks=[figures.MapTiles("m", PICTURES[0], PICTURES[0])], title="t"),
    "figures.mosaic": lambda: dict(tiles=PICTURES[0], across=2),
    "figures.occlusion_figure": lambda: dict(images=[COVERED], class_names={0: "dog", 1: "cat"}, title="t"),
    "runs.open_run": lambda: dict(experiment="demo", config=Config(), root=pathlib.Path("runs")),
    "stats.over_images": lambda: dict(columns={"a": [[0.0, 1.0, 1.0]]}, score=lambda means: means["a"], resamples=20),
    "stats.over_seeds": lambda: dict(values=[0.1, 0.2, 0.3], resamples=20),
    "runs.print_table": lambda: dict(rows=ROWS, title="t"),
    "runs.read_config": lambda: dict(path=_run().path),
    "runs.read_metrics": lambda: dict(path=_run().path),
    "runs.compare_runs": lambda: dict(paths=_two_runs(), scores=["accuracy"]),
    "runs.compare_settings": lambda: dict(paths=_two_runs()),
    "runs.run_labels": lambda: dict(paths=_two_runs()),
    "runs.read_summary": lambda: dict(path=_run().path),
    "runs.show_tables": lambda: dict(run=_run(), tables=[runs.Table(ROWS, "t")], notes=["n"]),
    "figures.frame": lambda: dict(figure=_laid_out(), title="t", notes=["n"]),
    "figures.overlay_figure": lambda: dict(images=GREY[None], maps={"a": IMAGE[None]}, title="t"),
    "figures.png": lambda: dict(figure=_figure()),
    "figures.receptive_field_figure": lambda: dict(image=IMAGE, fields={"a": SQUARE}),
    "figures.save": lambda: dict(figure=_figure(), path=pathlib.Path("figure.png")),
    "figures.score_dots": lambda: dict(scores=SCORES),
    "figures.seeds_note": lambda: dict(counts=[5, 3]),
    "figures.sheet_figure": lambda: dict(sheets=[[GREY, GREY]], rows=["a"], columns=["1", "2"], title="t"),
    "figures.short_labels": lambda: dict(cells=["a=1", "a=2"]),
    "figures.signed_gray": lambda: dict(pictures=PICTURES[0]),
    "figures.styled": dict,
    "figures.tidy": lambda: dict(axes=_axes()),
    "figures.training_curves": lambda: dict(metrics=METRICS),
    "figures.translation_maps": lambda: dict(maps=MAPS),
    "runs.write_page": lambda: dict(
        path=pathlib.Path("page.html"), title="t", sections=[runs.Section("s", [runs.Code("x")])]
    ),
}
