"""Measurements that a run keeps, each in a file of its own, so that a killed run goes on where it was."""

import json
import time
from collections.abc import Callable
from typing import Any

from cnnjax.files import write_atomic
from cnnjax.study import Progress, RunDirectory


def measured_once(directory: RunDirectory, progress: Progress, label: str, measure: Callable[[], Any]) -> Any:
    """What `measure()` returns, JSON, as the cell `label` of a run; from its file where it was measured earlier."""
    file = directory.cell(label) / "result.json"
    if file.exists():
        progress.skip(label)
    else:
        progress.cell(label)
        began = time.perf_counter()
        result = measure()
        directory.log(cell=label, seconds=time.perf_counter() - began)
        write_atomic(file, json.dumps(result))
    return json.loads(file.read_text())
