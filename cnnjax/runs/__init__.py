"""A run: its grid of cells, its directory, its progress, its tables and its page; knows nothing of any one question.

pandas, rich, tyro and jinja2 are imported by the functions that use them: training waits for none of them.
"""

from cnnjax.runs.beside import compare_runs, compare_settings, run_labels
from cnnjax.runs.cli import main
from cnnjax.runs.grids import Cell, grid
from cnnjax.runs.page import Code, Picture, Section, Table, write_page
from cnnjax.runs.progress import Progress
from cnnjax.runs.records import RunWarning, read_config, read_metrics, read_summary
from cnnjax.runs.run_directory import RunDirectory, open_run
from cnnjax.runs.table import format_interval, markdown, print_table
from cnnjax.runs.tables import show_tables

__all__ = [
    "Cell",
    "Code",
    "Picture",
    "Progress",
    "RunDirectory",
    "RunWarning",
    "Section",
    "Table",
    "compare_runs",
    "compare_settings",
    "format_interval",
    "grid",
    "main",
    "markdown",
    "open_run",
    "print_table",
    "read_config",
    "read_metrics",
    "read_summary",
    "run_labels",
    "show_tables",
    "write_page",
]
