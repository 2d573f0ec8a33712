"""The harness of an experiment that trains networks: its cells, each trained and measured once, and their scores.

| name | what it is |
| --- | --- |
| `CellPlan` | what a cell trains, on what, and with which augmentation |
| `sweep` | trains and measures the cells of a run that are not finished, here or on a Ray cluster |
| `Sweep`, `Outcome` | what became of the cells, with what they have in common; what became of one |
| `ProtocolConfig` | how invariance is measured, as options |
| `NetworkConfig`, `build` | a network as options, `NetworkConfig.of("resnet20", norm="none")`; the network of these |
| `load_images` | reads the images of an experiment, and prints which they are |
| `write_scores`, `score_interval` | the summary and the scores of a sweep as files; a score with its interval |
| `write_comparisons` | the differences between cells, seed by seed, as a file |
| `build_described` | the network that is described beside the weights of a cell |

[Your own experiment](../your_experiment.md) shows one in a file of its own.
"""

from cnnjax.sweep.cell import CellPlan, Outcome
from cnnjax.sweep.cells import Sweep, sweep
from cnnjax.sweep.describe import build_described
from cnnjax.sweep.images import load_images
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.paired import write_comparisons
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.sweep.scores import score_interval, write_scores

__all__ = [
    "CellPlan",
    "NetworkConfig",
    "Outcome",
    "ProtocolConfig",
    "Sweep",
    "build",
    "build_described",
    "load_images",
    "score_interval",
    "sweep",
    "write_comparisons",
    "write_scores",
]
