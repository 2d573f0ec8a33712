"""From trained networks of one recipe to a table and the curves of their training."""

from typing import Any

from cnnjax import analysis
from cnnjax.figures import colors, save
from cnnjax.runs import Table, show_tables
from cnnjax.stats import Interval
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.scores import score_interval, write_scores
from cnnjax.sweep.traced import cost_of
from experiments.shared.fitting import TRAINING, training_accuracy, training_figure, training_interval, unfitted
from experiments.shared.large_numbers import short
from experiments.shared.score_picture import score_picture


def write(of: Sweep) -> None:
    """Print the table and write it, `summary.csv`, `scores.csv` and the curves."""
    columns, protocol, dataset = write_scores(of), of.protocol, of.dataset
    assert protocol is not None
    measured = min(protocol.images, len(dataset.test.labels))
    about = (
        f"{dataset.note.rstrip('.')}. Shifted: by every offset up to {protocol.max_shift} px, zero fill, {measured:,} "
        f"test images; protocol {analysis.PROTOCOL}. {TRAINING}"
    )
    rows, fits = [], training_accuracy(of)
    for plan in of.plans:
        accuracy = score_interval(columns[plan.name], "test.accuracy")
        assert accuracy is not None  # of all images, so always measured
        cost = cost_of(plan.model, dataset.train.images.shape[1:])
        row: dict[str, Any] = {
            "network": plan.name,
            "parameters": f"{cost.parameters:,}",
            "multiply-adds": short(cost.multiply_adds),
            "epochs": plan.train.passes(len(dataset.train.labels)),
            "test error": _error(accuracy),
        }
        if (fit := training_interval(fits, plan.name)) is not None:
            row["training error"] = _error(fit)
        shown = {"shifted: mean accuracy": "mean_accuracy", "worst": "worst_accuracy", "consistency": "consistency"}
        for title, key in shown.items():
            if (found := score_interval(columns[plan.name], f"shift_zero.{key}")) is not None:
                row[title] = found
        rows.append(row)
    table = Table(rows, "What the recipe comes to, in percent", about, percent=True, digits=2)
    show_tables(of.run, [table], notes=unfitted(fits))
    save(score_picture(of), of.run.figures / "scores.png")
    names = [plan.name for plan in of.plans]
    if (figure := training_figure(of, palette=colors(names))) is not None:
        save(figure, of.run.figures / "training.png")


def _error(accuracy: Interval) -> Interval:
    return accuracy._replace(mean=1 - accuracy.mean, low=1 - accuracy.high, high=1 - accuracy.low)
