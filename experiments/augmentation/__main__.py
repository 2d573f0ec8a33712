"""The command `python -m experiments.augmentation`."""

from cnnjax.runs import main
from experiments.augmentation import ARCHITECTURE, PAPER, Config, run

if __name__ == "__main__":
    presets = {"architecture": ARCHITECTURE, "paper": PAPER}
    main(Config, run, prog="python -m experiments.augmentation", presets=presets)
