"""What the tests of options share."""

import sys
from pathlib import Path

import pytest

from cnnjax.runs import cli
from cnnjax.sweep.ranges import check_ranges


@pytest.fixture
def parsed_as(monkeypatch):
    """A function of a dataclass of options, which gives one of a line: the options, as an experiment reads them."""

    def of(kind):
        found = []

        def run(config):
            check_ranges(config)
            found.append(config)
            return Path("run")

        def read(line):
            monkeypatch.setattr(sys, "argv", ["experiment", *line.split()])
            cli.main(kind, run, prog="experiment")
            return found.pop()

        return read

    return of
