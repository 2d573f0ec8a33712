"""The command `python -m experiments.alexnet`."""

from cnnjax.runs import main
from experiments.alexnet import PAPER, Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.alexnet", presets={"paper": PAPER})
