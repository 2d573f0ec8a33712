"""The command `python -m experiments.parameters`."""

from cnnjax.runs import main
from experiments.parameters import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.parameters")
