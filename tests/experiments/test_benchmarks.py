import functools
import math

import numpy as np
import pytest

from cnnjax import ops
from cnnjax.errors import InputError
from cnnjax.study import read_summary
from experiments.benchmarks import measure, shapes


def test_programs_take_turns_and_every_round_has_all_of_them():
    calls = []
    programs = {name: lambda name=name: calls.append(name) for name in ("a", "b", "c")}
    times = measure.interleave(programs, seconds=0, rounds=3)
    assert "".join(calls) == "aabbcc" + "abc" + "bca" + "cab"
    assert {name: len(taken) for name, taken in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_the_ratio_is_taken_round_by_round():
    # Both programs are four times as slow in the second round: a ratio of medians would not see that they kept pace.
    ratio = measure.speed_ratio(ours=np.array([1.0, 4.0, 1.0]), peer=np.array([2.0, 8.0, 4.0]))
    assert (ratio.median, ratio.low, ratio.high, ratio.rounds) == (2.0, 2.0, 3.0, 3)


def test_the_shapes_are_those_of_the_networks():
    for shape in shapes.SHAPES:
        size = ops.output_size(shape.size, shape.kernel, stride=shape.stride, padding=shape.padding)
        assert size == shape.out_size
    macs = {
        (s.channels, s.features, s.kernel, s.size): s.flops // 2 // s.batch
        for s in shapes.SHAPES
        if s.network == "ResNet-20"
    }
    stem, narrow = macs[3, 16, 3, 32], macs[16, 16, 3, 32]
    to_middle, middle = macs[16, 32, 3, 32], macs[32, 32, 3, 16]
    to_wide, wide = macs[32, 64, 3, 16], macs[64, 64, 3, 8]
    # 19 convolutions, 40.55 million multiply-adds (He et al. 2016, section 4.2, by the shapes in its table).
    assert stem + 6 * narrow + to_middle + 5 * middle + to_wide + 5 * wide == 40_550_400
    alexnet = [s for s in shapes.SHAPES if s.network == "AlexNet"]
    # Weights of the five convolutions of Krizhevsky et al. 2012, figure 2.
    weights = [s.kernel**2 * s.channels // s.groups * s.features for s in alexnet]
    assert weights == [34_848, 307_200, 884_736, 663_552, 442_368]


def test_end_to_end(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the benchmark's peer is PyTorch")
    from experiments.benchmarks import ops as benchmark

    tiny = shapes.ConvShape("depthwise", 1, 6, 4, 4, groups=4)
    monkeypatch.setattr(benchmark, "SHAPES", (tiny,))
    monkeypatch.setattr(benchmark, "POOLS", ((1, 6, 2, 3, 2, 1),))
    monkeypatch.setattr(benchmark, "_step", lambda peer, seconds: [])
    path = benchmark.run(benchmark.Config(networks=("depthwise",), seconds=0.001, out=tmp_path / "run"))
    summary = read_summary(path)
    assert list(summary["pass"]) == ["forward", "input gradient", "weight gradient", "forward + gradient"]
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in summary["median"])
    assert "geometric mean" in (path / "table.md").read_text(encoding="utf-8")


def test_a_pass_that_differs_is_not_timed(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the benchmark's peer is PyTorch")
    from experiments.benchmarks import ops as benchmark

    monkeypatch.setattr(benchmark, "SHAPES", (shapes.ConvShape("depthwise", 1, 6, 2, 2),))
    wrong = ops.convolve
    monkeypatch.setattr(benchmark.ops, "conv", wrong)
    with pytest.raises(AssertionError, match="forward"):
        benchmark.run(benchmark.Config(networks=("depthwise",), seconds=0.001, out=tmp_path / "run"))


@pytest.mark.parametrize(("field", "value"), [("seconds", 0.0), ("threads", -1), ("networks", ())])
def test_bad_options(field, value, tmp_path):
    pytest.importorskip("torch", reason="the benchmark's peer is PyTorch")
    from experiments.benchmarks import ops as benchmark

    with pytest.raises(InputError, match=field):
        benchmark.run(benchmark.Config(**{field: value}, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_cells_side_by_side_end_to_end(tmp_path):
    from experiments.benchmarks import parallel_cells

    tiny = parallel_cells.Config(
        networks=("mlp",), cells=2, seeds=1, side=6, batch_size=4, steps=2, seconds=0.001, out=tmp_path / "run"
    )
    table = (parallel_cells.run(tiny) / "table.md").read_text(encoding="utf-8")
    assert "| mlp " in table
    assert "2 cells of 1 seeds" in table
    with pytest.raises(InputError, match="cells=0"):
        parallel_cells.run(parallel_cells.Config(cells=0, out=tmp_path / "other"))
    assert not (tmp_path / "other").exists()


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
def test_projections_beside_captums(tmp_path, monkeypatch):
    pytest.importorskip("captum", reason="the benchmark's peer is captum")
    pytest.importorskip("torch").set_num_threads(1)
    from experiments.benchmarks import visualise

    monkeypatch.setattr(visualise, "interleave", functools.partial(measure.interleave, rounds=1))
    path = visualise.run(visualise.Config(side=63, sample=1, seconds=0.001, out=tmp_path / "run"))
    table = (path / "throughput.md").read_text(encoding="utf-8").splitlines()
    assert [line.split("|")[1].strip() for line in table[2:5]] == list(visualise.NAMES.values())
