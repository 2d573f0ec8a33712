"""Reading a run, which is all that a notebook needs: its configuration, its metrics, its summary."""

import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.errors import InputError

if TYPE_CHECKING:
    import pandas

_CONFIG = {
    "experiment": str,
    "config": dict,
    "command": str,
    "started": str,
    "commit": str | None,
    "versions": dict,
    "device": dict,
    "resumed": list,
}


class RunWarning(UserWarning):
    """Something about a run directory that its reader should know, though the work goes on."""


def read_config(path: Path) -> dict[str, Any]:
    """The `config.json` of the run directory `path`.

    Its keys are experiment, config, command, started, commit, versions, device, and resumed: if it went on elsewhere.
    Raises InputError where the file is absent or corrupt.
    """
    file = _existing(path, "config.json")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        wrong = [key for key, kind in _CONFIG.items() if key not in document or not isinstance(document[key], kind)]
        fault = f"no proper {', '.join(wrong)}" if wrong else ""
    except (ValueError, TypeError) as error:
        document, fault = {}, str(error)
    if fault:
        raise InputError(f"{file} is corrupt ({fault}); restore it, or remove the directory to begin the run anew.")
    return document


def read_metrics(path: Path, *, keys: Sequence[str] = ()) -> "pandas.DataFrame":
    """The `metrics.jsonl` of the run directory `path`: a row a record, a column a field (NaN where a record has none).

    Of records that agree in all of `keys`, such as `("cell", "seed", "epoch")`, only the last counts: after a kill,
    epochs since the last checkpoint are trained again. Records without one of the keys all stay. A torn last line is
    left out with a RunWarning. Raises InputError where the file is absent or another line is no record.
    """
    import pandas as pd

    file = _existing(path, "metrics.jsonl")
    records, _, torn = _parse(file)
    if torn:
        warnings.warn(f"{file}: the last line is torn ({torn[:60]!r}) and left out.", RunWarning, stacklevel=2)
    frame = pd.DataFrame.from_records(records)
    if not keys or not set(keys) <= set(frame.columns):
        return frame
    superseded = frame.duplicated(list(keys), keep="last") & frame[list(keys)].notna().all(axis=1)
    return pd.DataFrame(frame[~superseded]).reset_index(drop=True)


def read_summary(path: Path) -> "pandas.DataFrame":
    """The `summary.csv` of the run directory `path`, every digit kept; raises InputError where it is absent."""
    import pandas as pd

    file = _existing(path, "summary.csv")
    # Only an empty field is missing: "None" and "NA" are honest names of cells.
    frame, text = (pd.read_csv(file, keep_default_na=False, na_values=[""], dtype=kind) for kind in (None, "object"))
    # Python reads back exactly the float that was written; pandas before 3.1 may be off in the last digit.
    floats = frame.select_dtypes("float").columns
    return frame.assign(**text[floats].astype("float64"))


def encode_record(record: Mapping[str, Any]) -> bytes:
    """One line of `metrics.jsonl`; raises InputError for a value that is not text, a number, a truth value or None."""
    plain = {key: _plain(key, value) for key, value in record.items()}
    return (json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n").encode()


def mend_metrics(path: Path) -> None:
    """Cut a torn last line off the `metrics.jsonl` of the run directory `path`, with a RunWarning.

    Raises InputError where another line is no record: now, and not when the work is done and its figures are drawn.
    """
    file = path / "metrics.jsonl"
    if not file.exists():
        return
    _, whole, torn = _parse(file)
    if torn:
        warnings.warn(f"{file}: the last line is torn ({torn[:60]!r}) and dropped.", RunWarning, stacklevel=4)
        os.truncate(file, whole)


def _parse(file: Path) -> tuple[list[dict[str, Any]], int, bytes]:
    """The records of a file, the length in bytes of its whole lines, and what is left of a torn last one."""
    content = file.read_bytes()
    lines = content.splitlines(keepends=True)
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        if record is not None:
            records.append(record)
        elif number == len(lines):  # killed while it was written, or the power failed before the disk had it
            return records, len(content) - len(line), line
        else:
            raise InputError(f"{file}, line {number} is no record ({line[:60]!r}); remove that line.")
    return records, len(content), b""


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if line.endswith(b"\n") and isinstance(record, dict) else None


def _plain(key: str, value: Any) -> Any:
    if not isinstance(value, str | bool | int | float | None) and np.ndim(value) == 0:
        value = np.asarray(value).item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str | bool | int | float | None):
        return value
    raise InputError(
        f"The metric {key!r} is {value!r}, a {type(value).__name__}; log text, numbers, truth values or None."
    )


def _existing(path: Path, name: str) -> Path:
    file = Path(path) / name
    if not file.is_file():
        raise InputError(f"{file} does not exist; is {path} the directory of a run?")
    return file
