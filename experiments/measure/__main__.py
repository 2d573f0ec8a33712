"""The command `python -m experiments.measure`."""

from cnnjax.runs import main
from experiments.measure import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.measure")
