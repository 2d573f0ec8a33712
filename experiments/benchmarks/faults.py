"""Does every fault end in the right result or in one line? Kills, damaged runs, broken images, wrong arguments.

Kills: three tiny experiments are killed at random instants, by SIGKILL, by SIGTERM, by the loss of one of two processes
and by that of a Ray worker, again and again until they end: their files must be those of an undisturbed run, to the
byte. Damage: in a finished run a file is flipped at a bit, torn, emptied, exchanged with another, or replaced by a
folder or a pipe; each reader, the report and the experiment itself must give what they gave before, or refuse it.
Images: the same for the files of a folder of classes. Options: numbers that no option takes. Arguments: every public
function with an argument that is wrong (see `wrong_arguments`).

    python -m experiments.benchmarks.faults --trials 20
    python -m experiments.benchmarks.faults --kinds kills --kills 100
    python -m experiments.benchmarks.faults --kinds calls --trials 10000  # every wrong argument of every function

Expected: nothing in the column `other`; of the kills, every run identical, no step repeated after SIGTERM, and after
SIGKILL at most those between two checkpoints, here a hundred. Most of the time is that of the kills.
"""

import contextlib
import dataclasses
import io
import os
import random
import shutil
import tempfile
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax import runtime
from cnnjax.data import DataConfig, load
from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError
from cnnjax.runs import Progress, Table, main, open_run, read_config, read_metrics, read_summary, show_tables
from cnnjax.runs.cli import check_numbers
from cnnjax.sweep.network import NetworkConfig
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.sweep.ranges import check_ranges
from cnnjax.training import TrainConfig, read_arrays
from experiments import augmentation, report
from experiments.benchmarks.kills import EXPERIMENTS, How, Killed, kill_all

TAKES = "a quarter of an hour on two cores; a hundred kills of each experiment, an hour or two"

if TYPE_CHECKING:
    from experiments.benchmarks.wrong_arguments.matrix import Outcome

TINY = augmentation.Config(
    data=DataConfig(train_images=60, test_images=20),
    network=NetworkConfig.of("all_conv", widths=(4,), depth=1),
    train=TrainConfig(epochs=2, batch_size=20),
    protocol=ProtocolConfig(max_shift=1, rotation_step=90.0, images=10),
    augmentations=("none", "crop"),
    seeds=2,
)
RESULTS = ("summary.csv", "scores.csv")


Kind = typing.Literal["damage", "kills", "images", "options", "calls"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the trials of faults."""

    trials: int = 20
    """Of each kind; a tenth as many calls of every public function with a wrong argument."""
    kills: int = 15
    """Of each experiment that is killed, at least."""
    killed: tuple[str, ...] = tuple(EXPERIMENTS)
    """Which experiments are killed."""
    ways: tuple[How, ...] = typing.get_args(How)
    """In which ways: the command by a signal, one of two processes, or the worker of a cell on a Ray cluster."""
    kinds: tuple[Kind, ...] = ("damage", "kills", "images", "options", "calls")
    """Which kinds."""
    seed: int = 0
    """Of the faults."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_faults/, under a name that follows from the options)."""


@dataclasses.dataclass
class Count:
    """What became of the trials of a kind."""

    kind: str
    trials: int = 0
    refused: int = 0
    right: int = 0
    other: int = 0
    first: str = ""
    """The first of the others."""

    def tried(self, what: str, trial: Callable[[], bool]) -> None:
        """Count a trial, which says whether what came is right, or raises."""
        self.trials += 1
        try:
            right = trial()
        except InputError:
            self.refused += 1
            return
        except Exception as error:
            right, what = False, f"{what}: {type(error).__name__}: {error}"
        self.right += right
        self.other += not right
        self.first = self.first or ("" if right else what)


def run(config: Config) -> Path:
    """Try every kind of fault, print the counts, write the table, and return the run directory."""
    check_ranges(config)
    for name in config.killed:
        check_choice("killed", name, EXPERIMENTS)
    runtime.configure()
    with (
        open_run("benchmarks_faults", config, out=config.out) as directory,
        tempfile.TemporaryDirectory() as folder,
    ):
        trial = {"damage": damages, "images": images, "options": options, "calls": arguments}
        with Progress(len(config.kinds)) as progress:
            whole = quietly(lambda: augmentation.run(dataclasses.replace(TINY, out=Path(folder) / "whole")))
            counts, killed = [], []
            for kind in config.kinds:
                progress.cell(kind)
                if kind == "kills":
                    for result in kills(config, Path(folder)):
                        killed.append(dataclasses.asdict(result))
                        progress.note(f"  {result.experiment}, {result.how}: {result.kills} kills")
                    continue
                many = -(-config.trials // 10) if kind == "calls" else config.trials
                counts.append(dataclasses.asdict(trial[kind](whole, Path(folder), random.Random(config.seed), many)))
        tables = [Table(counts, "What became of faults"), Table(killed, "What became of kills")]
        show_tables(directory, [table for table in tables if len(table.rows)])
        return directory.path


def kills(config: Config, folder: Path) -> Iterator[Killed]:
    """Kill the experiments that the options name, in their ways."""
    return kill_all(folder, random.Random(config.seed), config.kills, config.killed, config.ways)


def quietly(work: Callable[[], Any]) -> Any:
    """What `work` returns, without what it prints."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        return work()


def damages(whole: Path, folder: Path, chance: random.Random, trials: int) -> Count:
    """Damage a file of the finished run, and read it in every way."""
    count, copy = Count("damaged runs"), folder / "damaged"
    readers = {
        "read_config": lambda: read_config(copy) == read_config(whole),
        "read_metrics": lambda: read_metrics(copy) is not None,
        "read_summary": lambda: read_summary(copy) is not None,
        "report": lambda: report.write(report.Report((copy,), copy.with_suffix(".html"))).exists(),
        "experiment": lambda: same_results(
            quietly(lambda: augmentation.run(dataclasses.replace(TINY, out=copy))), whole
        ),
    }
    for _ in range(trials):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        what = damage(copy, chance)
        for name, read in readers.items():
            count.tried(f"{name} after {what}", lambda read=read: quietly(read))
        for file in copy.glob("cells/*/*.safetensors"):
            count.tried(f"read_arrays after {what}", lambda file=file: read_arrays(file) is not None)
    return count


def damage(run: Path, chance: random.Random) -> str:
    """Do something to a file of a run, and say what."""
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.name != ".lock")
    file, other = chance.sample(files, 2)
    kind = chance.choice(("flip", "tear", "empty", "remove", "exchange", "folder", "pipe"))
    content = bytearray(file.read_bytes())
    if kind == "flip" and content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content)
    elif kind == "tear":
        file.write_bytes(content[: chance.randrange(len(content) + 1)])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "exchange":
        file.write_bytes(other.read_bytes())
        other.write_bytes(content)
    else:
        file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind == "pipe" and hasattr(os, "mkfifo"):
            os.mkfifo(file)
    return f"{kind} of {file.relative_to(run)}" + (f" and {other.relative_to(run)}" if kind == "exchange" else "")


def same_results(found: Path, whole: Path) -> bool:
    """Whether two runs came to the same scores, to the byte."""
    return all((found / name).read_bytes() == (whole / name).read_bytes() for name in RESULTS)


def images(whole: Path, folder: Path, chance: random.Random, trials: int) -> Count:
    """Damage a file in a folder of classes, and load it."""
    from PIL import Image

    count, photos = Count("damaged images"), folder / "photos"
    pixels = np.random.default_rng(0)
    for _ in range(trials):
        shutil.rmtree(photos, ignore_errors=True)
        for name in ("a", "b"):
            (photos / name).mkdir(parents=True)
            for index in range(6):
                picture = Image.fromarray(pixels.integers(0, 256, (8, 8, 3), np.uint8))
                picture.save(photos / name / f"{index}.{chance.choice(('png', 'jpg', 'tiff', 'bmp', 'gif', 'webp'))}")
        what = damage(photos, chance)
        config = DataConfig(name="folder", data_dir=photos)
        count.tried(what, lambda config=config: quietly(lambda: load(config)).train.images.shape[1:] == (8, 8, 3))
    return count


def options(whole: Path, folder: Path, chance: random.Random, trials: int) -> Count:
    """Give a number that an option cannot take."""
    count = Count("options")
    every = list(numeric(TINY))
    for _ in range(trials):
        owner, name = chance.choice(every)
        value = chance.choice((2**128, -(2**63), 1e-320, float("nan"), float("inf"), -1e300))
        kind = typing.get_type_hints(type(owner))[name]
        changed = {name: (value,) if "tuple" in str(kind) else value}
        count.tried(f"{name}={value}", lambda owner=owner, changed=changed: taken(owner, changed))
    return count


def numeric(config: Any) -> Iterator[tuple[Any, str]]:
    """The numeric options of a config and of those within it."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from numeric(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield config, field.name


def taken(owner: Any, changed: dict[str, Any]) -> bool:
    """Never right: raises InputError where the change is refused."""
    config = dataclasses.replace(owner, **changed)
    check_numbers(config)
    check_ranges(config)
    return False


def arguments(whole: Path, folder: Path, chance: random.Random, trials: int) -> Count:
    """Call every public function with one argument wrong, so many times."""
    from experiments.benchmarks.wrong_arguments.calls import CALLS
    from experiments.benchmarks.wrong_arguments.matrix import how_many, try_all

    count = Count("wrong arguments")
    for name, call in CALLS.items():
        every = range(1, how_many(name, call) + 1)
        chosen = frozenset(chance.sample(every, min(trials, len(every))))
        for outcome in try_all({name: call}, only=chosen.__contains__):
            what = f"{name}, {outcome.argument}: {outcome.mistake}: {outcome.text}"
            count.tried(what, lambda outcome=outcome: given(outcome))
    return count


def given(outcome: "Outcome") -> bool:
    """Whether a value came of a call; raises InputError where it was refused."""
    if outcome.kind == "InputError":
        raise InputError(outcome.text)
    return outcome.kind == "value"


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.faults", can_tell=False)
