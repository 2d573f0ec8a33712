"""The command `python -m experiments.mnist_rot`."""

from cnnjax.runs import main
from experiments.mnist_rot import PAPER, Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.mnist_rot", presets={"paper": PAPER})
