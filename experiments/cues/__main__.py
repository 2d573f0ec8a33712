"""The command `python -m experiments.cues`."""

from cnnjax.runs import main
from experiments.cues import CIFAR10, Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.cues", presets={"cifar10": CIFAR10})
