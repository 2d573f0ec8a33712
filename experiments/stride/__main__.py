"""The command `python -m experiments.stride`."""

from cnnjax.runs import main
from experiments.stride import GRID, PAPER, Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.stride", presets={"grid": GRID, "paper": PAPER})
