"""The command `python -m experiments.data_efficiency`."""

from cnnjax.runs import main
from experiments.data_efficiency import PAPER, Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.data_efficiency", presets={"paper": PAPER})
