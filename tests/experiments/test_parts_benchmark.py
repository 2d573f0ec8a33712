"""The benchmark of a step's parts: what an operation counts as, and a table from end to end."""

import dataclasses
from types import SimpleNamespace

import pytest

from experiments.benchmarks import parts
from experiments.benchmarks.networks import CASES

PROGRAM = """
ENTRY %main {
  %a = f32[8,8]{1,0} parameter(0)
  %add.1 = f32[8,8]{1,0} fusion(%a, %a), kind=kLoop
  %ffi_call.2 = f32[8,8]{1,0} custom-call(%add.1), custom_call_target="cnnjax_conv3_tiled_input_8x8_3x3_1x1"
  %ffi_call = f32[8]{0} custom-call(%ffi_call.2), custom_call_target="cnnjax_channels1_sums_8"
  ROOT %dot.3 = f32[8]{0} dot(%ffi_call, %a)
}
"""


def trace_of(*events):
    events = [SimpleNamespace(name=name, duration_ns=milliseconds * 1e6) for name, milliseconds in events]
    return SimpleNamespace(planes=[SimpleNamespace(lines=[SimpleNamespace(events=events)])])


def test_operations_are_added_up_by_what_they_are():
    trace = trace_of(
        ("add.1", 8), ("ffi_call.2", 16), ("ffi_call", 24), ("dot.3", 32), ("ffi_call.2", 16), ("wait", 99)
    )
    assert parts._by_kind(trace, PROGRAM) == pytest.approx(
        {
            "element by element": 1,
            "convolutions, input gradient": 4,
            "sums for each channel": 3,
            "XLA's products and sums": 4,
        }
    )


@pytest.mark.slow
def test_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setitem(CASES, "LeNet", dataclasses.replace(CASES["LeNet"], batch=16))
    parts.run(parts.Config(networks=("LeNet",), seconds=0.001, out=tmp_path / "run"))
    table = (tmp_path / "run" / "table.md").read_text(encoding="utf-8")
    (line,) = (line for line in table.splitlines() if line.startswith("| convolutions, weight gradient"))
    assert float(line.split("|")[2]) > 0
