import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import ops
from cnnjax.errors import InputError
from cnnjax.runs import read_summary
from experiments.benchmarks import measure, named, shapes


def test_programs_take_turns_and_every_round_has_all_of_them(monkeypatch):
    calls = []
    monkeypatch.setattr(measure, "SETTLE", 0.0)
    programs = {name: lambda name=name: calls.append(name) for name in ("a", "b", "c")}
    times = measure.interleave(programs, seconds=0, rounds=3)
    # Once without a clock, so that the threads of the one before are at rest, and once with it.
    assert "".join(calls) == "aabbcc" + "aabbcc" + "bbccaa" + "ccaabb"
    assert {name: len(taken) for name, taken in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_the_ratio_is_taken_round_by_round():
    # Both programs are four times as slow in the second round: a ratio of medians would not see that they kept pace.
    ratio = measure.speed_ratio(ours=np.array([1.0, 4.0, 1.0]), peer=np.array([2.0, 8.0, 4.0]))
    assert (ratio.median, ratio.low, ratio.high, ratio.rounds) == (2.0, 2.0, 3.0, 3)


def test_geometric_means_are_taken_of_medians_and_of_quartiles():
    ratios = [measure.Ratio(2.0, 1.0, 4.0, 5), measure.Ratio(8.0, 4.0, 9.0, 5)]
    mean = measure.geometric_mean(ratios)
    np.testing.assert_allclose((mean.median, mean.low, mean.high, mean.rounds), (4.0, 2.0, 6.0, 2))


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
    small = [dataclasses.replace(one, maps=(1, 6, 6, 2)) for one in named.NAMED[-2:]]
    monkeypatch.setattr(benchmark, "NAMED", small)
    path = benchmark.run(benchmark.Config(networks=("depthwise",), seconds=0.001, out=tmp_path / "run"))
    summary = read_summary(path)
    assert list(summary["pass"]) == [
        *("forward", "input gradient", "weight gradient", "forward + gradient"),
        *("forward", "forward + gradients") * 2,
    ]
    ratios = summary.set_index("network")[["median", "XLA median"]]
    # A polyphase pool has no peer in PyTorch.
    assert ratios.loc["polyphase pool", "median"].isna().all()
    assert (ratios.drop("polyphase pool").to_numpy() > 0).all()
    assert (ratios.loc["polyphase pool", "XLA median"] > 0).all()
    assert "geometric mean" in (path / "table.md").read_text(encoding="utf-8")


SMALL = {
    "1-D": ((2, 12, 3), (9, 3, 4)),
    "1-D, transposed (jax #23783)": ((2, 5, 4), (16, 3, 4)),
    "transposed": ((2, 4, 4, 4), (4, 4, 3, 4)),
    "in a loop (jax #12868)": ((2, 5, 5, 3), (3, 3, 3, 3)),
    "group p4, from images": ((2, 5, 5, 3), (3, 3, 3, 2)),
    "blur pool": ((2, 6, 6, 3), None),
}


@pytest.mark.parametrize("name", SMALL)
def test_what_is_measured_by_name_is_the_same_in_pytorch(name):
    pytest.importorskip("torch", reason="the benchmark's peer is PyTorch").set_num_threads(1)
    from experiments.benchmarks import torch_peer

    maps, kernel = SMALL[name]
    (one,) = (dataclasses.replace(one, maps=maps, kernel=kernel) for one in named.NAMED if one.name == name)
    arrays = one.arrays()
    theirs = torch_peer.named_passes(one, arrays)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    close(one.function(*map(jnp.asarray, arrays)), theirs["forward"]())
    gradients = jax.grad(lambda arrays: (one.function(*arrays) ** 2).sum() / 2)([jnp.asarray(a) for a in arrays])
    for ours, expected in zip(gradients, theirs["forward + gradients"](), strict=True):
        close(ours, expected)


def test_a_pass_that_differs_is_not_timed(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the benchmark's peer is PyTorch")
    from experiments.benchmarks import ops as benchmark

    monkeypatch.setattr(benchmark, "SHAPES", (shapes.ConvShape("depthwise", 1, 6, 2, 2),))
    wrong = ops.convolve
    monkeypatch.setattr(benchmark.ops, "conv", wrong)
    with pytest.raises(AssertionError, match="forward"):
        benchmark.run(benchmark.Config(networks=("depthwise",), by_name=False, seconds=0.001, out=tmp_path / "run"))


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
    table = (path / "table.md").read_text(encoding="utf-8").splitlines()
    rows = table[4 : 4 + len(visualise.NAMES)]
    assert [line.split("|")[1].strip() for line in rows] == list(visualise.NAMES.values())
