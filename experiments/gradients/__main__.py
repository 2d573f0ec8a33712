"""The command `python -m experiments.gradients`."""

from cnnjax.runs import main
from experiments.gradients import PAPER, Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.gradients", presets={"paper": PAPER})
