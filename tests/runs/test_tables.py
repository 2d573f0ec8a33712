"""Tables that a run keeps come back as the data that they were made of."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from cnnjax import InputError
from cnnjax.runs import Table, open_run, show_tables
from cnnjax.runs.table import as_text
from cnnjax.runs.tables import read_tables
from cnnjax.stats import Interval, over_seeds

ROWS = [
    {"|a|": "x | y", "score": Interval(0.5, 0.25, 0.75, 5), "score ": np.float64(0.5), "n": np.int64(3), "few": None},
    {"|a|": "z", "score": over_seeds([0.5]), "score ": math.nan, "n": True, "few": np.float32(0.5)},
]


def shown(table):
    return as_text(table.rows, percent=table.percent, digits=table.digits)


@pytest.mark.parametrize("rows", [ROWS, pd.DataFrame(ROWS)], ids=["rows", "frame"])
@pytest.mark.parametrize("percent", [True, False, ("score",)])
def test_a_table_comes_back_and_is_shown_alike(tmp_path, capsys, rows, percent):
    table = Table(rows, "Ein Titel: ±", "Two\nlines.", percent=percent, digits=2)
    with open_run("demo", {}, out=tmp_path) as run:
        show_tables(run, [table], notes=["A last word."])
    (found,), notes = read_tables(tmp_path / "tables.json")
    assert shown(found) == shown(table)
    assert (found.title, found.caption, notes) == (table.title, table.caption, ["A last word."])
    interval = found.rows[0]["score"]
    assert interval == ROWS[0]["score"]
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert text.startswith("**Ein Titel: ±**\n\n| ")
    assert text.endswith("A last word.\n")
    assert capsys.readouterr().out.endswith("\nA last word.\n")


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": []},
        {"rows": [3]},
        {"rows": [{"a": {"mean": 1}}]},
        {"rows": [{"a": {"mean": "1", "low": 0, "high": 2, "n": 3}}]},
        {"title": None},
        {"digits": "2"},
        {"percent": ["b"]},
        {"percent": 3},
    ],
)
def test_a_damaged_table_is_named(tmp_path, changed):
    whole = {"title": "t", "caption": "", "percent": False, "digits": 1, "rows": [{"a": 1}]}
    file = tmp_path / "tables.json"
    file.write_text(json.dumps({"tables": [whole], "notes": []}))
    assert read_tables(file)[0] == [Table([{"a": 1}], "t", percent=False)]
    file.write_text(json.dumps({"tables": [whole | changed], "notes": []}))
    with pytest.raises(InputError, match=r"tables\.json is damaged .*: let the run's command write it again"):
        read_tables(file)
    file.write_text(json.dumps({"tables": [whole], "notes": [1]}))
    with pytest.raises(InputError, match="a note is not text"):
        read_tables(file)
