"""The report of a run holds what the run holds, stands alone, and is drawn by a browser that has no network."""

import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnjax import InputError
from cnnjax.data import DataConfig
from cnnjax.runs import Table, cli, open_run, read_config, run_labels, show_tables
from cnnjax.runs.folder import Folder
from cnnjax.stats import Interval
from experiments import depth, report
from experiments.augmentation import GROWS, Config

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
COLOUR = (18, 162, 90)


@pytest.fixture
def finished(tmp_path):
    """The directory of a run with a table, a figure of one colour, a summary and another file of numbers."""
    scores = {"none": (0.5, 0.75), "crop": (0.25, float("nan"))}
    with open_run("augmentation", Config(data=DataConfig(name="digits")), out=tmp_path / "run", grows=GROWS) as run:
        rows = [
            {"cell": cell, "seed": seed, "status": "ok", "accuracy": value}
            for cell, values in scores.items()
            for seed, value in enumerate(values)
        ]
        run.write_table("summary", pd.DataFrame(rows))
        pd.DataFrame({"score": ["<b>"] * 150, "p": np.full(150, 0.0123456)}).to_csv(run.path / "tests.csv", index=False)
        table = [{"augmentation": "none", "accuracy": Interval(0.625, 0.5, 0.75, 2)}]
        show_tables(run, [Table(table, "Accuracy", "Of digits.", percent=True)], notes=["crop failed"])
        Image.new("RGB", (600, 300), COLOUR).save(run.figures / "green_field.png")
        return run.path


def test_it_holds_what_the_run_holds(finished):
    page = report.write(report.Report((finished,)))
    assert page == finished / "report.html"
    text = html.unescape(page.read_text(encoding="utf-8"))
    for part in (
        "How invariant to translation and rotation",
        "<h3>Accuracy</h3>",
        "62.5 ± 12.5 (n = 2)",
        "Of digits. ±: half the width",
        "crop failed",
        'alt="green field"',
        "The first 100 of 150 rows",
        "0.01235",
        "data.name",
        '"digits"',
        "python",
        "jax 0.",
    ):
        assert part in text, part
    # The mean over the seeds that have the score, in the units of the file.
    assert re.search(r">none</th><td>0\.625 ± 1\.6 \(n = 2\)</td>", text)  # 12.7 times half of 0.75 - 0.5
    assert re.search(r">crop</th><td>0\.25</td>", text)
    assert page.read_text(encoding="utf-8").count("&lt;b&gt;") == 100


def test_a_browser_without_a_network_draws_it(finished, tmp_path):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    page = report.write(report.Report((finished,)))

    def open_page(*flags):
        quiet = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
        quiet += (
            "--disable-component-update",
            "--disable-sync",
            "--no-sandbox",
            f"--user-data-dir={tmp_path / 'user'}",
        )
        offline = "--host-resolver-rules=MAP * ~NOTFOUND"
        command = [browser, "--headless", *quiet, offline, "--window-size=1000,2000", *flags, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

    open_page(f"--screenshot={tmp_path / 'page.png'}")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    field = (np.abs(pixels.astype(int) - COLOUR) <= 2).all(-1)
    assert field.sum() == pytest.approx(600 * 300, rel=0.02)  # its corners are rounded
    dark = (pixels.sum(-1) < 300).any(1)
    assert dark[: np.flatnonzero(field.any(1))[0]].any()  # the title above the figure
    assert "62.5 ± 12.5" in html.unescape(open_page("--dump-dom"))


def test_several_runs_in_one_page(finished, tmp_path, monkeypatch):
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    monkeypatch.chdir(tmp_path)
    page = report.write(report.Report((finished, other)))
    assert page == tmp_path / "report.html"
    text = page.read_text(encoding="utf-8")
    for name in ("run", "other"):
        assert f"{name}: Figures" in text
    assert text.count("How invariant") == 2  # in the title, which stands twice
    assert report.write(report.Report((finished, other))) == page  # made again


def test_a_run_of_before_says_that_its_tables_are_text(finished):
    (finished / "tables.json").unlink()
    text = report.write(report.Report((finished,))).read_text(encoding="utf-8")
    assert "This run keeps its tables as text only, in table.md; its command, run again, writes tables.json" in text
    assert "62.5 ± 12.5" not in text


def test_a_run_that_has_grown_and_is_not_finished_says_so(finished):
    with open_run("augmentation", Config(data=DataConfig(name="digits"), seeds=7), out=finished, grows=GROWS):
        pass
    text = report.write(report.Report((finished,))).read_text(encoding="utf-8")
    assert "Where it has grown and is not finished, all below is of what it was before." in text
    assert "62.5 ± 12.5" not in text


def test_runs_of_two_experiments_are_called_by_these_and_compared_in_what_both_have(finished, tmp_path):
    with open_run("depth", depth.Config(seeds=3), out=tmp_path / "other") as run:
        run.write_table("summary", pd.DataFrame([{"cell": "plain", "seed": 0, "accuracy": 0.5}]))
    page = report.write(report.Report((finished, run.path), out=tmp_path / "both.html"))
    text = html.unescape(page.read_text(encoding="utf-8"))
    for part in ("augmentation: Configuration", "depth: Configuration", "Of the settings that all these experiments"):
        assert part in text, part
    assert re.search(r"<th[^>]*>augmentation</th>\s*<th[^>]*>depth</th>", text)
    assert re.search(r"its scores have no pairs\.\s*<", text)
    differs = text.partition("Of the settings that all")[0]
    assert "train.learning_rate" in differs
    assert "network.widths" not in differs


def test_what_cannot_be_reported(tmp_path, finished, monkeypatch, capsys):
    empty = tmp_path / "empty"
    with open_run("augmentation", Config(), out=empty):
        pass
    mine = tmp_path / "mine.html"
    mine.write_text("<html>mine</html>")
    for runs, out, message in [
        ((), None, "no run to report on"),
        ((tmp_path / "absent",), None, r"absent/config\.json does not exist"),
        ((empty,), None, "has neither tables nor figures yet"),
        ((finished, finished), None, "more than once: give every run once"),
        ((finished,), mine, "is not overwritten"),
        ((finished,), tmp_path, "is a directory"),
    ]:
        with pytest.raises(InputError, match=message):
            report.write(report.Report(runs, out))
    assert mine.read_text() == "<html>mine</html>"
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "absent")])
    with pytest.raises(SystemExit) as stopped:
        cli.main(report.Report, report.write, prog="report")
    assert stopped.value.code == 2
    assert "absent" in io.StringIO(capsys.readouterr().err).getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.csv", b"", r"summary\.csv is not a table"),
        ("summary.csv", b"\xff\xfe\x00", r"summary\.csv is not a table"),
        ("tests.csv", b'"a,b\n1', r"tests\.csv is not a table"),
        ("tables.json", b"\xff\xfe", r"tables\.json is corrupt"),
        ("tables.json", b'{"tables": [{"rows": []}], "notes": []}', r"tables\.json is damaged"),
        ("config.json", b'{"experiment": "x"}', r"config\.json is corrupt"),
        ("figures/green_field.png", b"\x89PN", r"green_field\.png is no PNG"),
    ],
)
def test_a_damaged_file_is_named(finished, name, content, message):
    (finished / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        report.write(report.Report((finished,)))
    (finished / name).unlink()
    os.mkfifo(finished / name)
    with pytest.raises(InputError, match=r"cannot be read \(it is not a file"):
        report.write(report.Report((finished,)))


def test_a_config_without_a_part_is_named(finished):
    document = json.loads((finished / "config.json").read_text())
    del document["device"]["count"]
    (finished / "config.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"no proper device\.count"):
        report.write(report.Report((finished,)))


def test_links_out_of_the_run_are_not_followed(finished, tmp_path):
    (tmp_path / "secret").write_text("**Mine**\n\nsecret words", encoding="utf-8")
    (tmp_path / "pictures").mkdir()
    shutil.copy(finished / "figures" / "green_field.png", tmp_path / "pictures" / "secret.png")
    (finished / "tables.json").unlink()
    (finished / "tables.json").symlink_to(tmp_path / "secret")
    (finished / "secret.csv").symlink_to(tmp_path / "secret")
    (finished / "figures" / "linked").symlink_to(tmp_path / "pictures")
    assert "secret" not in report.write(report.Report((finished,))).read_text(encoding="utf-8")
    link = finished.with_name("link")
    link.symlink_to(finished)
    assert "green field" in report.write(report.Report((link,))).read_text(encoding="utf-8")


def test_long_tables_are_cut_before_they_are_read_in_detail(finished):
    count = 50_000
    long = pd.DataFrame({"cell": "a", "seed": np.arange(count), "accuracy": np.linspace(0, 1, count)})
    long.to_csv(finished / "summary.csv", index=False)
    document = json.loads((finished / "tables.json").read_text(encoding="utf-8"))
    document["tables"][0]["rows"] *= count
    (finished / "tables.json").write_text(json.dumps(document), encoding="utf-8")
    began = time.process_time()
    text = report.write(report.Report((finished,))).read_text(encoding="utf-8")
    assert time.process_time() - began < 10
    assert text.count(f"The first 100 of {count} rows; the file has them all.") == 2
    assert f"summary.csv has {count} rows and 1 scores: too many" in text
    assert len(text) < 1_000_000


def test_half_a_letter_in_a_setting_is_shown_as_an_escape(finished):
    document = json.loads((finished / "config.json").read_text())
    document["command"] = "python \ud800"
    (finished / "config.json").write_text(json.dumps(document))
    assert "python \\ud800" in report.write(report.Report((finished,))).read_text(encoding="utf-8")


def test_several_runs_begin_with_what_differs_and_their_scores_side_by_side(finished, tmp_path):
    with open_run("augmentation", Config(crop=2), out=tmp_path / "other") as run:
        rows = [{"cell": cell, "seed": seed, "accuracy": 0.5} for cell in ("none", "crop") for seed in range(2)]
        run.write_table("summary", pd.DataFrame(rows))
    for path, crop in ((finished, 4), (run.path, 2)):
        Folder(path, read_config(path)["identity"]).save_json("data.json", {"images": "same"})
        scores = [{"cell": "none", "score": "test.accuracy", "mean": 0.5, "low": 0.4, "high": 0.6, "seeds": 2}]
        pd.DataFrame(scores).to_csv(path / "scores.csv", index=False)
        assert f"crop={crop}" in run_labels([finished, run.path])[crop == 2]
    page = report.write(report.Report((finished, run.path), out=tmp_path / "both.html"))
    text = html.unescape(page.read_text(encoding="utf-8"))
    assert re.search(r"<th[^>]*>crop=4</th>\s*<th[^>]*>crop=2</th>", text)
    for part in ("What differs", "Side by side", "Differences, seed by seed", "crop=2: Configuration"):
        assert part in text, part
