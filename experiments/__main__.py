"""The experiments, each with its question and how long its default takes.

python -m experiments
"""

import argparse
import shutil
import textwrap

from cnnjax.ending import one_line_endings
from experiments.modules import Module, experiments

AFTER = """\
--help after a command tells its options.
python -m experiments.report RUN... makes a page of runs.
python -m experiments.runs lists those that there are."""


def listing(modules: list[Module], width: int) -> str:
    """The command of each module with its time, its question below."""
    parts = []
    for module in modules:
        question = textwrap.fill(module.question, width, initial_indent="    ", subsequent_indent="    ")
        parts.append(f"python -m {module.name}{f'  ({module.takes})' if module.takes else ''}\n{question}")
    return "\n".join([*parts, "", AFTER])


if __name__ == "__main__":
    with one_line_endings():
        argparse.ArgumentParser(
            prog="python -m experiments", description="Lists the experiments; run one with python -m experiments.NAME."
        ).parse_args()
        print(listing(experiments(), min(100, shutil.get_terminal_size().columns)))
