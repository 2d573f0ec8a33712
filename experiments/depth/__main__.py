"""The command `python -m experiments.depth`."""

from cnnjax.runs import main
from experiments.depth import PAPER, Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.depth", presets={"paper": PAPER})
