"""The tables of the experiment: accuracies by view, why they fall, and which cue and which network loses more."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.data import Dataset
from cnnjax.runs import Table
from cnnjax.stats import Interval, compare, holm, over_images, over_seeds
from experiments.cues.cells import Network, is_control
from experiments.cues.views import CUES, NAMES, WHOLE, View

if TYPE_CHECKING:
    import pandas as pd


def interval(values: np.ndarray, *, shares: bool = True) -> Interval:
    """Of right answers (seeds, images): over seeds, or of one network over the images; not `shares`: of differences."""
    if len(values) > 1:
        return over_seeds(values.mean(1), images=values.shape[1] if shares else None)
    return over_images({"value": values}, lambda means: means["value"], shares=shares)


def left(view: View) -> str:
    """The cues that a view leaves, in words."""
    return ", ".join(NAMES[cue] for cue in view.left)


def accuracy_table(networks: Sequence[Network], views: Sequence[View], dataset: Dataset) -> Table:
    """Accuracy of every network on every view."""
    rows = []
    for view in views:
        row: dict[str, Any] = {"images": view.title, "what is left": left(view)}
        rows.append(row | {network.title: interval(network.right[view.key]) for network in networks})
    counts = np.bincount(dataset.test.labels, minlength=len(dataset.class_names))
    drawn = " Drawn without: the same images rendered without the cue, exactly." if _drawn(views) else ""
    fitted = [f"{n.title} {100 * n.fitted[WHOLE.key].mean():.1f}" for n in networks if WHOLE.key in n.fitted]
    fit = f" Right on their training images, in percent: {', '.join(fitted)}." if fitted else ""
    caption = (
        f"Trained on whole images; all {len(dataset.test.labels)} test images in each row. The most frequent class is "
        f"{100 * counts.max() / counts.sum():.1f} % of them.{fit}{drawn} {dataset.note.rstrip('.')}."
    )
    return Table(rows, "What is right without a cue, in percent", caption, percent=True)


def _drawn(views: Sequence[View]) -> bool:
    return any(view.kind == "drawn" for view in views)


def control_table(networks: Sequence[Network], views: Sequence[View]) -> Table | None:
    """What each main view still tells, and what of the loss that explains; None where nothing was trained on one."""
    rows = []
    for network in networks:
        for view in views:
            if not is_control(view) or view.key not in network.trained:
                continue
            tested, trained = network.right[view.key], network.trained[view.key].astype(float)
            whole = network.right[WHOLE.key]
            row: dict[str, Any] = {"network": network.title, "images": view.title, "what is left": left(view)}
            row |= {"tested on them": interval(tested), "trained on them": interval(trained)}
            parts = {"lost": whole - tested, "information": whole - trained, "unfamiliarity": trained - tested}
            row |= {name: interval(part, shares=False) for name, part in parts.items()}
            if view.key in network.fitted:
                row["fitted"] = over_seeds(network.fitted[view.key])
            rows.append(row)
    if not rows:
        return None
    caption = (
        "Tested: of networks trained on whole images. Trained: of the same networks, seed by seed, trained on such "
        "images, which is what the cues that are left carry for them. Lost: whole less tested, in points; of that, "
        "information is whole less trained, and unfamiliarity trained less tested. Fitted: the right answers of the "
        "latter to their training images."
    )
    return Table(rows, "Gone with the cue, or only unfamiliar, in percent", caption, percent=True)


def comparisons(networks: Sequence[Network], views: Sequence[View]) -> "pd.DataFrame | None":
    """Losses compared in pairs: of two cues in one network, of two networks without one cue; None without a pair.

    A row for each pair, over the same seeds where all networks have as many, two at least, and over the same images;
    p_holm counts the rows over either apart.
    """
    import pandas as pd

    removed = [view for view in views if view.kind == "removed" and view.main]
    sides: list[tuple[str, str, Mapping[str, np.ndarray]]] = [
        ("cues", network.title, {_gone(view): network.lost(view) for view in removed}) for network in networks
    ]
    sides += [("networks", _gone(view), {n.title: n.lost(view) for n in networks}) for view in removed]
    frames: dict[str, list[Any]] = {"seeds": [], "images": []}
    for between, where, values in sides:
        if len(values) < 2:
            continue
        fields = {"between": between, "where": where}
        counts = {len(value) for value in values.values()}
        if len(counts) == 1 and counts != {1}:
            means = {name: value.mean(1) for name, value in values.items()}
            frames["seeds"].append(compare(means, over="seeds").assign(**fields))
        pooled = {name: value.mean(0, keepdims=True) for name, value in values.items()}
        frames["images"].append(compare(pooled, over="images").assign(**fields))
    parts = [pd.concat(some, ignore_index=True) for some in frames.values() if some]
    if not parts:
        return None
    for part in parts:
        part["p_holm"] = holm(part["p"])
    frame = pd.concat(parts, ignore_index=True)
    for place, name in enumerate(("between", "where")):
        frame.insert(place, name, frame.pop(name))
    return frame


def _gone(view: View) -> str:
    """The cues that a view removes, in words; grey images have tones for a colour."""
    kept = {"color" if cue == "tone" else cue for cue in view.left}
    return " and ".join(NAMES[cue] for cue in CUES if cue not in kept)


def comparison_table(frame: "pd.DataFrame") -> Table:
    """The comparisons over seeds, where there are some, or over images."""
    records: Any = frame.to_dict("records")
    over = "seeds" if any(row["over"] == "seeds" for row in records) else "images"
    rows = []
    for row in records:
        if row["over"] != over:
            continue
        method = "bootstrap" if row["n"] > 4 else "t"
        difference = Interval(row["difference"], row["low"], row["high"], int(row["n"]), over, 0.95, method)
        where = row["where"] if row["between"] == "cues" else f"without {row['where']}"
        pair = {"": where, "loss": row["cell"], "less that": row["against"]}
        rows.append(pair | {"difference": difference, "p (Holm)": f"{row['p_holm']:.2g}"})
    caption = (
        "Differences of what is lost, in percentage points: in one network, without one cue less without another; and "
        "without one cue, of one network less of another. Main strengths. comparisons.csv has them over seeds and over "
        "images."
    )
    return Table(rows, "Which cue, which network", caption, percent=("difference",))
