"""The metrics of a run for TensorBoard."""

import datetime
from pathlib import Path

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.runs.records import read_config, read_metrics
from cnnjax.runs.settings import CELL_NAME, safe_name

_KEYS = ("cell", "seed", "step")
_OURS = ".cnnjax"  # ends the names of files that this has written: no other is deleted


@checked()
def export_tensorboard(path: Path, *, out: Path | None = None) -> Path:
    """Write the numbers of `metrics.jsonl` of the run directory `path` for TensorBoard, and return the folder.

    `out` is the folder, by default `path/tensorboard`: `tensorboard --logdir` shows it. In it are a folder for each
    cell, and in that one for each seed. Every other number of a record with cell, seed and step becomes a scalar;
    repeated steps are written once. While a run works, call it again: what it wrote before is replaced, as TensorBoard
    notices. Raises InputError where TensorBoard is not installed (the extra `tensorboard`; not TensorFlow), and for
    what is not a run.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # pyright: ignore
    except ImportError as error:
        raise InputError("TensorBoard is not installed: pip install -e '.[tensorboard]'") from error
    metrics = read_metrics(path, keys=_KEYS)
    if not set(_KEYS) <= set(metrics.columns):
        raise InputError(f"{path / 'metrics.jsonl'} has no record of a training yet: export it later")
    began = datetime.datetime.fromisoformat(read_config(path)["started"]).timestamp()
    out = path / "tensorboard" if out is None else out
    for _, records in metrics.dropna(subset=list(_KEYS)).groupby(["cell", "seed"]):
        name, seed = str(records["cell"].iloc[0]), int(records["seed"].iloc[0])
        folder = out / (name if CELL_NAME.fullmatch(name) else safe_name(name)) / f"seed={seed}"
        for old in folder.glob(f"events.out.tfevents.*{_OURS}"):
            old.unlink()
        writer = EventFileWriter(str(folder), filename_suffix=_OURS)
        # What a TensorBoard that is running has read of the old file is thus dropped.
        writer.add_event(Event(wall_time=began, step=0, session_log=SessionLog(status=SessionLog.START)))
        numbers = records.drop(columns=list(_KEYS)).select_dtypes("number")
        time = began + (numbers["seconds"].fillna(0).cumsum() if "seconds" in numbers else 0 * records["step"])
        for now, step, values in zip(time, records["step"], numbers.to_dict("records"), strict=True):
            scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items() if value == value]
            writer.add_event(Event(wall_time=now, step=int(step), summary=Summary(value=scalars)))
        writer.close()
    return out
