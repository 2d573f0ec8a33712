"""The command `python -m experiments.features`."""

from cnnjax.runs import main
from experiments.features import PAPER, Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.features", presets={"paper": PAPER})
