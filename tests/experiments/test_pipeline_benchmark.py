"""The benchmark of the pipeline end to end on few photographs, and the photographs that it makes."""

import importlib.util
import io
import json

import numpy as np
import pytest

from cnnjax.data.decode import look
from cnnjax.sweep.network import NetworkConfig
from experiments.benchmarks import pipeline
from experiments.benchmarks.made_photographs import SIZES, make_photographs, picture


@pytest.mark.skipif(importlib.util.find_spec("grain") is None, reason="grain is not installed")
def test_every_stage_is_timed_and_the_slowest_named(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "TOLD", 4)
    network = NetworkConfig.of("all_conv", widths=(4,), depth=1)
    config = pipeline.Config(
        images=8, classes=2, size=16, network=network, batch_size=4, workers=(0,), rounds=1, out=tmp_path / "run"
    )
    pipeline.run(config)
    stages, piped = json.loads((tmp_path / "run" / "tables.json").read_text())["tables"]
    assert [row["stage"] for row in stages["rows"]] == ["read", "decode", "read, decode and crop", "transfer", "step"]
    assert len(piped["rows"]) == 1
    assert "The slowest is " in stages["caption"]


def test_made_photographs_have_the_shape_of_imagenet(tmp_path):
    make_photographs(tmp_path, 6, classes=3, tests=3)
    files = sorted(tmp_path.rglob("*.jpg"))
    assert [file.parent.name[-1] for file in files] == list("001122012")
    assert {look(file)[0][::-1] for file in files} <= set(SIZES)
    # ImageNet's 1.28 million training files take 138 GB: 108 kB each.
    content = io.BytesIO()
    picture(np.random.default_rng(0), 500, 375).save(content, "JPEG", quality=90)
    assert 70e3 < len(content.getvalue()) < 150e3
