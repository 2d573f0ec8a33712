"""The command `python -m experiments.borders`."""

from cnnjax.study import main
from experiments.borders import PAPER, Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.borders", presets={"paper": PAPER})
