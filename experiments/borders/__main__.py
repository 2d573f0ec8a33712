"""The command `python -m experiments.borders`."""

from cnnjax.runs import main
from experiments.borders import PAPER, Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.borders", presets={"paper": PAPER})
