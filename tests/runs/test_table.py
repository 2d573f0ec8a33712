"""Tables say what they mean, line up, and lose nothing at any width."""

import math

import numpy as np
import pandas as pd
import pytest

from cnnjax import InputError
from cnnjax.runs import format_interval, markdown, print_table
from cnnjax.stats import Interval, over_images, over_seeds

NONE = float("nan")
ROWS = [
    {"augmentation": "none", "accuracy": Interval(0.973, 0.968, 0.976, 5), "worst": 0.5, "parameters": 12345},
    {"augmentation": "crop", "accuracy": Interval(1.0, 1.0, 1.0, 5), "worst": None, "parameters": 7},
]


def test_an_interval_reads_as_half_its_width():
    assert format_interval(Interval(0.973, 0.968, 0.976, 5)) == "97.3 ± 0.4"
    assert format_interval(Interval(0.12345, 0.1, 0.15, 5), scale=1, digits=3) == "0.123 ± 0.025"
    assert format_interval(Interval(0.5, NONE, NONE, 1)) == "50.0"
    assert format_interval(Interval(0.5, 0.25, 0.75, 2)) == "50.0 ± 25.0 (n = 2)"
    assert format_interval(Interval(0.5, 0.5, 0.5, 5)) == "50.0 ± 0.0"


def test_shares_near_an_end_have_both_ends_of_their_interval():
    right = np.arange(200)[None] < 198
    near = over_images({"right": right}, lambda means: means["right"], resamples=50_000)
    # Clopper and Pearson's of 198 in 200, by their equation: 96.43 to 99.88 %.
    assert format_interval(near) == "99.0 (96.4 to 99.9)"
    assert "over n = 200 images; in brackets: its ends" in markdown([{"cell": "a", "accuracy": near}])
    middle = over_images({"right": np.arange(200)[None] < 120}, lambda means: means["right"])
    assert "60.0 ± " in format_interval(middle)


def test_all_or_no_images_have_a_bound_in_place_of_no_spread():
    # The rule of three, two-sided: 1 - .025^(1/296) = 1.24 %.
    assert format_interval(over_seeds([1.0] * 5, images=296)) == "100.0 (≥ 98.8)"
    assert format_interval(over_seeds([0.0] * 5, images=296)) == "0.0 (≤ 1.2)"
    text = markdown([{"cell": "a", "worst": over_seeds([0.0] * 3, images=296), "mean": over_seeds([0.1, 0.2, 0.4])}])
    assert "±: half the width of the 95 % t interval over n = 3 seeds." in text
    assert "≥, ≤: the 95 % bound by the number of images, all of which count, or none." in text


def test_the_printed_table(capsys):
    print_table(ROWS, title="digits, all_conv", caption="Percent; protocol 1.", percent=True)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line] == [
        "digits, all_conv",
        " augmentation      accuracy   worst   parameters",
        " " + "─" * 47,
        " none            97.3 ± 0.4    50.0        12345",
        " crop           100.0 ± 0.0       –            7",
        "Percent; protocol 1. ±: half the width of the 95 % bootstrap interval over n = 5",
        "seeds.",
    ]


def test_a_wide_table_wraps_headers_and_tears_no_number(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    rows = [{"cell": "a", **{f"mean accuracy under shift {i}": Interval(0.9, 0.88, 0.93, 5) for i in range(9)}}]
    print_table(rows, title="t", percent=True)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert sum(line.count("90.0 ± 2.5") for line in lines) == 9
    assert max(map(len, lines)) <= 9 * 13 + 8
    assert lines[2].split() == ["mean"] * 9
    assert lines[3].split() == ["accuracy"] * 9
    assert lines[4].split() == ["under"] * 9
    assert lines[5].split() == ["cell", *[word for i in range(9) for word in ("shift", str(i))]]


def test_no_colour_where_it_is_not_a_terminal(capsys):
    print_table(ROWS, title="t")
    assert "\x1b" not in capsys.readouterr().out


def test_brackets_are_text(capsys):
    print_table([{"cell [px]": "[0, 1]", "b": "[red]x[/red]"}], title="[bold]t", caption="[c]")
    out = capsys.readouterr().out
    for text in ("[px]", "[0, 1]", "[red]x[/red]", "[bold]t", "[c]"):
        assert text in out


def test_a_frame_prints_like_its_rows(capsys):
    print_table(ROWS, title="t")
    first = capsys.readouterr().out
    print_table(pd.DataFrame({name: [row[name] for row in ROWS] for name in ROWS[0]}), title="t")
    assert capsys.readouterr().out == first


def test_markdown_is_a_table():
    text = markdown(ROWS, caption="MNIST.", percent=["accuracy", "worst"])
    assert text == (
        "| augmentation |    accuracy | worst | parameters |\n"
        "| ------------ | ----------: | ----: | ---------: |\n"
        "| none         |  97.3 ± 0.4 |  50.0 |      12345 |\n"
        "| crop         | 100.0 ± 0.0 |     – |          7 |\n"
        "\n"
        "MNIST. ±: half the width of the 95 % bootstrap interval over n = 5 seeds.\n"
    )
    assert markdown([{"|g|": "x|y"}]) == "| \\|g\\| |\n| ----- |\n| x\\|y  |\n"
    assert markdown([{"a": "x", "b": 1}]) == "| a   |   b |\n| --- | --: |\n| x   |   1 |\n"


@pytest.mark.parametrize(
    ("intervals", "meaning"),
    [
        ([over_seeds([0.5])], "n = 1 seed, which has no interval."),
        ([over_seeds([0.5, 0.6]), over_seeds([0.5] * 5)], "interval over n = 2 to 5 seeds."),
        ([over_seeds([0.5, 0.6]), over_seeds([0.5] * 5)], "95 % t (from n = 5 on bootstrap) interval"),
        ([over_seeds([0.5, 0.6, 0.7])], "95 % t interval over n = 3 seeds."),
        ([Interval(0.5, 0.4, 0.6, 360, "images", 0.9)], "90 % bootstrap interval over n = 360 images."),
        ([Interval(0.5, 0.4, 0.6, 9, "images"), Interval(0.5, 0.4, 0.6, 5)], "over n = 9 images. ±: half"),
    ],
)
def test_the_caption_states_n(intervals, meaning):
    assert meaning in markdown([{"cell": i, "score": interval} for i, interval in enumerate(intervals)])


def test_numbers_that_are_absent_are_dashes():
    text = markdown([{"a": "x", "b": np.float64(math.nan)}, {"a": "y", "c": np.float64(0.25)}], percent=["c"])
    assert text.splitlines()[2:] == ["| x   |   – |    – |", "| y   |   – | 25.0 |"]


def test_a_table_without_rows_is_refused():
    for rows in ([], pd.DataFrame({"a": []})):
        with pytest.raises(InputError, match="has no rows"):
            print_table(rows, title="t")


def test_numbers_are_shown_as_they_are_but_in_columns_that_are_percent():
    rows = [{"cell": "a", "loss": 0.5, "accuracy": 0.5, "score": Interval(2.5, 2.0, 3.0, 5)}]
    body = [markdown(rows, percent=percent).splitlines()[2].split("|")[2:-1] for percent in ((), ["accuracy"], True)]
    assert [[cell.strip() for cell in row] for row in body] == [
        ["0.5", "0.5", "2.5 ± 0.5"],
        ["0.5", "50.0", "2.5 ± 0.5"],
        ["50.0", "50.0", "250.0 ± 50.0"],
    ]
    with pytest.raises(InputError, match="percent names 'acuracy', which is no column; there are cell, loss"):
        markdown(rows, percent=["acuracy"])
