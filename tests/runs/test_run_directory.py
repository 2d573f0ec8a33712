"""A run directory survives kills, refuses what does not belong together, and belongs to one process."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from cnnjax import InputError
from cnnjax.runs import Progress, RunWarning, begun, open_run, read_config, read_metrics, read_summary, run_directory


@dataclasses.dataclass(frozen=True)
class Data:
    name: str = "digits"
    size: int = 32


@dataclasses.dataclass(frozen=True)
class Config:
    data: Data = Data()
    seeds: int = 5
    rate: float = 0.1
    out: Path | None = None


def everything_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_new_run_tells_where_it_comes_from(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python3", "-m", "experiments.demo", "--out", "two words"])
    with open_run("demo", Config(), root=tmp_path) as run:
        assert run.path.parent == tmp_path / "demo"
        assert run.path.name.startswith("digits-")
    document = read_config(run.path)
    assert document["experiment"] == "demo"
    assert document["config"] == {"data": {"name": "digits", "size": 32}, "seeds": 5, "rate": 0.1, "out": None}
    assert set(document["versions"]) == {"python", "cnnjax", "jax", "jaxlib", "flax", "optax", "numpy"}
    assert document["versions"]["numpy"] == np.__version__
    assert document["device"]["platform"] == "cpu"
    assert document["device"]["count"] == 8
    assert document["device"]["cpu"]
    assert document["command"] == "python3 -m experiments.demo --out 'two words'"
    assert document["started"].endswith("+00:00")
    assert document["resumed"] == []


def test_more_seeds_are_measured_beside_those_that_stand(tmp_path):
    asked = []

    def measure(seeds):
        asked.append(list(seeds))
        return {"squares": np.array([seed**2 for seed in seeds])}

    for seeds in (range(5, 7), range(5, 7), range(5, 10)):
        with open_run("demo", {}, out=tmp_path) as run, Progress(1) as progress:
            found = run.once("cell", "squares.safetensors", measure, progress=progress, seeds=seeds)
    assert found["squares"].tolist() == [25, 36, 49, 64, 81]
    assert asked == [[5, 6], [7, 8, 9]]


def test_the_same_settings_are_the_same_run_and_others_another(tmp_path):
    paths = []
    for config in (Config(), Config(out=Path("elsewhere")), Config(seeds=6)):
        with open_run("demo", config, root=tmp_path) as run:
            paths.append(run.path)
    assert paths[0] == paths[1] != paths[2]


def test_a_relative_path_does_not_follow_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_run("demo", Config(), out=Path("here")) as run:
        assert run.path == tmp_path / "here"


def test_going_on_keeps_what_is_there_and_writes_nothing_anew(tmp_path):
    with open_run("demo", Config(), out=tmp_path) as run:
        run.log(cell="a", loss=1.0)
        (run.cell("augmentation=crop,rate=-0.1").path / "checkpoint").write_text("weights")
    before = (tmp_path / "config.json").read_bytes()
    with open_run("demo", Config(), out=tmp_path) as run:
        run.log(cell="b", loss=0.5)
        assert (run.cell("augmentation=crop,rate=-0.1").path / "checkpoint").read_text() == "weights"
        assert run.figures.is_dir()
    assert (tmp_path / "config.json").read_bytes() == before
    assert read_metrics(tmp_path)["cell"].tolist() == ["a", "b"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", "a b", ".hidden"])
def test_a_cell_stays_inside_its_run(tmp_path, name):
    with open_run("demo", Config(), out=tmp_path) as run, pytest.raises(InputError, match="unfit for a file"):
        run.cell(name)


def test_other_settings_are_refused_naming_each_with_both_values(tmp_path):
    with open_run("demo", Config(), out=tmp_path) as run:
        run.log(loss=1.0)
    before = (tmp_path / "config.json").read_bytes()
    other = Config(data=Data(name="mnist"), rate=0.2, out=tmp_path)
    with pytest.raises(InputError) as refusal:
        open_run("demo", other, out=tmp_path)
    message = str(refusal.value)
    assert 'data.name was "digits", is "mnist"' in message
    assert "rate was 0.1, is 0.2" in message
    assert "size" not in message
    assert "out" not in message.replace("another", "")
    assert (tmp_path / "config.json").read_bytes() == before
    with pytest.raises(InputError, match="experiment was demo, is others"):
        open_run("others", Config(), out=tmp_path)
    open_run("demo", Config(), out=tmp_path).close()  # a refusal lets the directory go


def test_ignored_fields_may_differ(tmp_path):
    open_run("demo", Config(), out=tmp_path, ignore=("out", "data.size")).close()
    open_run("demo", Config(data=Data(size=28)), out=tmp_path, ignore=("out", "data.size")).close()
    with pytest.raises(InputError, match=r"data\.size was 32, is 28"):
        open_run("demo", Config(data=Data(size=28)), out=tmp_path)


def test_another_version_warns_goes_on_and_is_recorded(tmp_path):
    open_run("demo", Config(), out=tmp_path).close()
    document = read_config(tmp_path)
    now = document["versions"]["jax"]
    document["versions"]["jax"] = "0.4.1"
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.warns(RunWarning, match=rf"jax was 0\.4\.1, is {now}"):
        open_run("demo", Config(), out=tmp_path).close()
    document = read_config(tmp_path)
    assert document["versions"]["jax"] == "0.4.1"
    assert [entry["versions"]["jax"] for entry in document["resumed"]] == [now]
    open_run("demo", Config(), out=tmp_path).close()  # once is enough: a warning would fail this test
    assert len(read_config(tmp_path)["resumed"]) == 1


def damaged(change):
    """A whole config.json, changed."""

    def content(path):
        open_run("demo", Config(), out=path).close()
        document = read_config(path)
        change(document)
        return json.dumps(document)

    return content


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda d: d.update(resumed=[3]), r"resumed\[0\]\.command, resumed\[0\]\.started"),
        (lambda d: d.update(resumed=[{**d, "device": {}}]), r"resumed\[0\]\.device\.platform"),
        (lambda d: d["device"].pop("count"), r"device\.count"),
        (lambda d: d["device"].update(count="4"), r"device\.count"),
        (lambda d: d.update(device=[1]), "device"),
        (lambda d: d["versions"].update(jax=3), r"versions\.jax"),
        (lambda d: d.update(commit=3), "commit"),
        (lambda d: d.update(identity="demo 0"), "identity is not that of its settings"),
    ],
)
def test_a_config_with_a_damaged_part_is_refused_naming_the_part(tmp_path, change, fault):
    (tmp_path / "config.json").write_text(damaged(change)(tmp_path))
    with pytest.raises(InputError, match=rf"config\.json is corrupt.*{fault}.*restore it"):
        open_run("demo", Config(), out=tmp_path)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 101 + b"]" * 101])
def test_files_nested_without_end_are_refused(tmp_path, content):
    open_run("demo", Config(), out=tmp_path).close()
    (tmp_path / "metrics.jsonl").write_bytes(content + b"\n{}\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 1 is no record"):
        read_metrics(tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json is corrupt"):
        read_config(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b'a,b\n"1,2', b"a\n1,2\n1,2,3\n", b"\xff\xfe", b"a,b\n1,\xff\n"])
def test_a_summary_that_is_not_a_table_is_refused(tmp_path, content):
    (tmp_path / "summary.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"summary\.csv is not a table"):
        read_summary(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "summary.csv"])
def test_what_cannot_be_read_through_is_refused_at_once(tmp_path, name):
    read = {"config.json": read_config, "metrics.jsonl": read_metrics, "summary.csv": read_summary}[name]
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name} cannot be read \(it is not a file"):
        read(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=rf"{name} cannot be read \(it is not a file"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "corrupt"),
        (b'{"experiment": "demo", "conf', "corrupt"),
        (b"\xff\xfe\x00", "corrupt"),
        (b"[1, 2]", "no proper experiment"),
        (b"3", "corrupt"),
        (b'{"experiment": "demo", "config": 3}', "no proper config, command"),
    ],
)
def test_a_corrupt_config_is_refused_and_left_alone(tmp_path, content, fault):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(
        InputError, match=rf"config\.json is corrupt.*{fault}|config\.json is corrupt.*remove"
    ) as refusal:
        open_run("demo", Config(), out=tmp_path)
    assert fault in str(refusal.value)
    assert (tmp_path / "config.json").read_bytes() == content
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_directory_of_something_else_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"holds thesis\.tex.*name a new or empty directory"):
        open_run("demo", Config(), out=tmp_path)
    assert everything_below(tmp_path) == ["thesis.tex"]


def test_what_a_kill_before_config_leaves_is_no_obstacle(tmp_path):
    for name in (".lock", ".config.json.1234abcd.tmp"):
        (tmp_path / name).write_text("")
    with open_run("demo", Config(), out=tmp_path):
        assert read_config(tmp_path)["experiment"] == "demo"


PARTIAL = ".notes.0123abcd.tmp"  # as `write_atomic` names what it has not finished


def test_what_is_not_a_run_loses_nothing(tmp_path):
    model = tmp_path / "model"
    (model / "cells" / "a").mkdir(parents=True)
    (model / "config.json").write_text('{"model_type": "bert"}')
    for name in (PARTIAL, f"cells/a/{PARTIAL}", "cells/a/.work.tmp", ".work.tmp"):
        (model / name).write_text("mine")
    before = everything_below(model)
    with pytest.raises(InputError, match="no proper experiment"):
        open_run("demo", Config(), out=model)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / PARTIAL).write_text("mine")
    with open_run("demo", Config(), out=hidden):
        pass
    assert everything_below(model) == before
    assert (hidden / PARTIAL).read_text() == "mine"


def test_only_what_a_killed_writer_left_in_a_runs_own_folders_is_removed(tmp_path):
    run, outside = tmp_path / "run", tmp_path / "outside"
    with open_run("demo", Config(), out=run) as opened:
        assert opened.cell("a").path.is_dir()
        assert opened.figures.is_dir()
    outside.mkdir()
    (outside / PARTIAL).write_text("mine")
    (run / "cells" / "linked").symlink_to(outside)
    (run / "notes").mkdir()
    (run / "cells" / "a" / "below").mkdir()
    (run / "cells" / "a" / ".linked.0123abcd.tmp").symlink_to(outside / PARTIAL)
    (run / ".folder.0123abcd.tmp").mkdir()
    ours = [PARTIAL, f"cells/a/{PARTIAL}", f"figures/{PARTIAL}"]
    theirs = ["notes/" + PARTIAL, f"cells/a/below/{PARTIAL}", ".work.tmp", "cells/a/.a.0123ABCD.tmp", "cells/a/a.tmp"]
    before = everything_below(run)
    for name in (*ours, *theirs):
        (run / name).write_text("")
    open_run("demo", Config(), out=run).close()
    assert everything_below(run) == sorted([*before, *theirs])
    assert (outside / PARTIAL).read_text() == "mine"


@pytest.mark.parametrize("kind", ["text", "link", "folder", "pipe"])
def test_a_lock_that_is_not_ours_is_left_alone(tmp_path, kind):
    (tmp_path / "mine").write_text("mine")
    run, lock = tmp_path / "run", tmp_path / "run" / ".lock"
    run.mkdir()
    make = {
        "text": lambda: lock.write_text("mine"),
        "link": lambda: lock.symlink_to(tmp_path / "mine"),
        "folder": lock.mkdir,
        "pipe": lambda: os.mkfifo(lock),
    }
    make[kind]()
    with pytest.raises(InputError, match=r"\.lock is not the lock of a run"):
        open_run("demo", Config(), out=run)
    assert everything_below(run) == [".lock"]
    assert (tmp_path / "mine").read_text() == "mine"
    assert kind != "text" or lock.read_text() == "mine"


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=rf"{out} cannot be written: Not a directory"):
            open_run("demo", Config(), out=out)
    assert everything_below(tmp_path) == ["file"]


@pytest.mark.parametrize("becomes", ["nothing", "a file", "empty"])
def test_a_run_that_vanishes_while_it_works_is_one_error_and_is_not_made_anew(tmp_path, becomes):
    path = tmp_path / "run"
    with open_run("demo", Config(), out=path) as run:
        shutil.rmtree(path)
        if becomes == "a file":
            path.write_text("mine")
        elif becomes == "empty":
            path.mkdir()
        attempts = [lambda: run.log(n=1)]
        if becomes != "empty":
            attempts += [
                lambda: run.cell("a"),
                lambda: run.figures,
                lambda: run.write_table("summary", pd.DataFrame({"n": [1]})),
            ]
        for attempt in attempts:
            with pytest.raises(OSError, match=r"No such file|Not a directory") as error:
                attempt()
            assert error.value.errno in (errno.ENOENT, errno.ENOTDIR)
            assert str(error.value.filename).startswith(str(path))
    assert not path.is_dir() or everything_below(path) == []
    assert becomes != "a file" or path.read_text() == "mine"


def test_a_config_removed_while_the_run_works_is_written_again(tmp_path):
    run = open_run("demo", Config(), out=tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    (tmp_path / "config.json").unlink()
    with pytest.warns(RunWarning, match=r"config\.json was removed while the run worked"):
        run.close()
    assert (tmp_path / "config.json").read_bytes() == before
    open_run("demo", Config(), out=tmp_path).close()


@pytest.mark.parametrize(
    ("module", "step"), [(begun, "write_atomic"), (run_directory, "mend_metrics"), (begun, "provenance")]
)
def test_a_failure_to_open_leaves_nothing_behind(tmp_path, monkeypatch, module, step):
    def fail(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, step, fail)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        open_run("demo", Config(), root=tmp_path / "deep" / "runs")
    assert everything_below(tmp_path) == []
    monkeypatch.undo()
    open_run("demo", Config(), root=tmp_path / "deep" / "runs").close()


def test_settings_that_json_cannot_hold_are_refused_before_anything_is_made(tmp_path):
    with pytest.raises(InputError, match=r"config\.rate is nan"):
        open_run("demo", Config(rate=float("nan")), root=tmp_path / "runs")
    assert everything_below(tmp_path) == []


def test_the_same_process_cannot_open_it_twice(tmp_path):
    with open_run("demo", Config(), out=tmp_path), pytest.raises(InputError, match=f"{tmp_path} is open in another"):
        open_run("demo", Config(), out=tmp_path)
    open_run("demo", Config(), out=tmp_path).close()


CHILD = """
import dataclasses, sys
from pathlib import Path
import jax, numpy as np, pandas as pd
from cnnjax.runs import open_run

@dataclasses.dataclass(frozen=True)
class Config:
    seeds: int = 5

with open_run("demo", Config(), out=Path(sys.argv[1])) as run:
    n = 0
    while True:
        n += 1
        run.log(n=n, text="x" * 200)
        run.write_table("summary", pd.DataFrame({"n": np.full(500, n)}))
        if n == 1:
            print("open", flush=True)
"""


@dataclasses.dataclass(frozen=True)
class Small:
    seeds: int = 5


def test_a_second_process_is_refused_until_the_first_is_killed_at_any_instant(tmp_path):
    for patience in (0.02, 0.11):
        environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
        command = [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path / "run")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "open\n"
            with pytest.raises(InputError, match=r"run is open in another process"):
                open_run("demo", Small(), out=tmp_path / "run")
            time.sleep(patience)
            child.send_signal(signal.SIGKILL)
        with open_run("demo", Small(), out=tmp_path / "run") as run:
            run.log(n=-1)
        metrics = read_metrics(run.path)
        assert metrics["n"].iloc[-1] == -1
        summary = read_summary(run.path)["n"]
        assert len(summary) == 500
        assert summary.nunique() == 1


def test_a_torn_last_line_is_dropped_and_the_next_record_starts_a_line(tmp_path):
    with open_run("demo", Config(), out=tmp_path) as run:
        run.log(cell="a", loss=1.0)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write('{"cell": "a", "loss": 0.5, "text": "±'.encode()[:-1])
    with pytest.warns(RunWarning, match="last line is torn"):
        assert len(read_metrics(tmp_path)) == 1
    with pytest.warns(RunWarning, match="last line is torn.* dropped"):
        run = open_run("demo", Config(), out=tmp_path)
    with run:
        run.log(cell="a", loss=0.25)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"cell": "a", "loss": 1.0}\n{"cell": "a", "loss": 0.25}\n'


def test_a_line_torn_anywhere_is_dropped(tmp_path):
    with open_run("demo", Config(), out=tmp_path) as run:
        run.log(n=1)
        run.log(n=2, text="two\u2028lines\x85?")
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    first = whole.index(b"\n") + 1
    assert read_metrics(tmp_path)["n"].tolist() == [1, 2]
    for end in range(first + 1, len(whole)):
        (tmp_path / "metrics.jsonl").write_bytes(whole[:end])
        with pytest.warns(RunWarning):
            assert read_metrics(tmp_path)["n"].tolist() == [1]
    (tmp_path / "metrics.jsonl").write_bytes(whole[:first] + b"\0" * 40 + b"\n")  # what a power cut can leave
    with pytest.warns(RunWarning):
        assert read_metrics(tmp_path)["n"].tolist() == [1]


def test_a_corrupt_line_in_the_middle_is_refused_when_the_run_is_opened(tmp_path):
    open_run("demo", Config(), out=tmp_path).close()
    (tmp_path / "metrics.jsonl").write_text('{"n": 1}\nrubbish\n{"n": 2}\n')
    for read in (read_metrics, lambda path: open_run("demo", Config(), out=path)):
        with pytest.raises(InputError, match=r"metrics\.jsonl, line 2 is no record.*rubbish"):
            read(tmp_path)


def test_numbers_of_every_library_are_logged_as_numbers(tmp_path):
    with open_run("demo", Config(), out=tmp_path) as run:
        run.log(a=np.float32(0.5), b=jnp.int32(3), c=np.array(2.5), d=float("nan"), e=jnp.inf, f=True, g=None, h="±")
        with pytest.raises(InputError, match="metric 'loss' is array"):
            run.log(loss=np.zeros(3))
        with pytest.raises(InputError, match=r"metric 'loss' is \{'a': 1\}, a dict"):
            run.log(loss={"a": 1})
    line = '{"a": 0.5, "b": 3, "c": 2.5, "d": null, "e": null, "f": true, "g": null, "h": "±"}\n'
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8") == line


def test_of_repeated_records_the_last_counts(tmp_path):
    with open_run("demo", Config(), out=tmp_path) as run:
        for epoch, loss in [(1, 3.0), (2, 2.0), (2, 1.5), (3, 1.0)]:
            run.log(cell="a", seed=0, epoch=epoch, loss=loss)
        run.log(cell="a", seed=1, epoch=2, loss=7.0)
        run.log(cell="a", event="done")
        run.log(cell="a", event="done again")
    assert len(read_metrics(tmp_path)) == 7
    metrics = read_metrics(tmp_path, keys=("cell", "seed", "epoch"))
    assert metrics["loss"].dropna().tolist() == [3.0, 1.5, 1.0, 7.0]
    assert metrics["event"].dropna().tolist() == ["done", "done again"]
    assert metrics.index.tolist() == list(range(6))
    assert len(read_metrics(tmp_path, keys=("absent",))) == 7


def test_a_summary_is_equal_bytes_for_equal_numbers_and_comes_back_exactly(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "cell": ["None", "NA", "a,b", "null"],
            "seed": range(4),
            "accuracy": random.random(4) * 10.0 ** random.integers(-20, 20, 4),
            "narrow": random.random(4).astype("float32"),
            "score": [0.1, np.nan, 1e-300, 1.0],
            "ok": [True, False, True, True],
        }
    )
    with open_run("demo", Config(), out=tmp_path) as run:
        run.write_table("summary", frame)
        first = (tmp_path / "summary.csv").read_bytes()
        back = read_summary(tmp_path)
        run.write_table("summary", back)
    assert (tmp_path / "summary.csv").read_bytes() == first
    pd.testing.assert_frame_equal(back, frame.astype({"narrow": "float64"}), check_exact=True, check_dtype=False)
    assert b"\r" not in first


def test_what_is_no_run_is_named(tmp_path):
    for read, name in ((read_config, "config.json"), (read_metrics, "metrics.jsonl"), (read_summary, "summary.csv")):
        with pytest.raises(InputError, match=rf"{name} does not exist; is {tmp_path} the directory of a run"):
            read(tmp_path)


def test_a_new_run_has_no_metrics(tmp_path):
    open_run("demo", Config(), out=tmp_path).close()
    assert read_metrics(tmp_path, keys=("cell",)).empty
