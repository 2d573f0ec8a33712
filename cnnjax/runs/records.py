"""Reading a run, which is all that a notebook needs: its configuration, its metrics, its summary."""

import io
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.files import read_file, read_json

if TYPE_CHECKING:
    import pandas

_PROVENANCE = {"command": str, "started": str, "commit": str | None, "versions": dict, "device": dict}
_CONFIG = {"experiment": str, "config": dict, **_PROVENANCE, "resumed": list, "identity": str}
_DEVICE = {"platform": str, "kind": str, "count": int, "cpu": str}
_ANEW = "restore it, or remove the directory to begin the run anew"


class RunWarning(UserWarning):
    """Something about a run directory that its reader should know, though the work goes on."""


@checked()
def read_config(path: Path) -> dict[str, Any]:
    """The `config.json` of the run directory `path`.

    Its keys are experiment, identity, config, command, started, commit, versions, device, and resumed: if it went on
    elsewhere. Raises InputError where the file is absent or corrupt.
    """
    file = _existing(path, "config.json")
    document = read_json(file, _ANEW)
    wrong = _wrong(document, _CONFIG)
    if not wrong:
        for number, stage in enumerate([document, *document["resumed"]]):
            inside = f"resumed[{number - 1}]." if number else ""
            wrong += [inside + name for name in _wrong(stage, _PROVENANCE)] or [
                *(f"{inside}device.{name}" for name in _wrong(stage["device"], _DEVICE)),
                *(f"{inside}versions.{k}" for k, v in stage["versions"].items() if not isinstance(v, str | None)),
            ]
    if wrong:
        raise InputError(f"{file} is corrupt (no proper {', '.join(wrong)}): {_ANEW}")
    return document


def _wrong(found: Any, kinds: Mapping[str, Any]) -> list[str]:
    """The keys that are missing in a JSON object or of another kind; all of them where it is none."""
    if not isinstance(found, dict):
        return [*kinds]
    return [key for key, kind in kinds.items() if key not in found or not isinstance(found[key], kind)]


@checked()
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


@checked()
def read_summary(path: Path) -> "pandas.DataFrame":
    """The `summary.csv` of the run directory `path`, every digit kept.

    Raises InputError where it is absent or not a table.
    """
    file = _existing(path, "summary.csv")
    # Only an empty field is missing: "None" and "NA" are honest names of cells.
    frame, text = (read_table(file, keep_default_na=False, na_values=[""], dtype=kind) for kind in (None, "object"))
    # Python reads back exactly the float that was written; pandas before 3.1 may be off in the last digit.
    floats = frame.select_dtypes("float").columns
    return frame.assign(**text[floats].astype("float64"))


def read_table(file: Path, **options: Any) -> "pandas.DataFrame":
    """A file of comma-separated values, with the options of `pandas.read_csv`; raises InputError for what is none."""
    import pandas as pd

    remedy = "let the run's command write it again"
    content = read_file(file, remedy)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of columns of mixed kinds, and of what else is odd
            return pd.read_csv(io.BytesIO(content), **options)
    except (ValueError, OverflowError, pd.errors.DtypeWarning, pd.errors.ParserWarning) as error:
        raise InputError(f"{file} is not a table ({str(error).strip()}); {remedy}.") from error


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
    content = read_file(file, "remove it, or put a file in its place")
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
    except (ValueError, RecursionError):
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
    if not file.exists():
        raise InputError(f"{file} does not exist; is {path} the directory of a run?")
    return file
