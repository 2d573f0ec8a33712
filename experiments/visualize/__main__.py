"""The command `python -m experiments.visualize`."""

from cnnjax.runs import main
from experiments.visualize import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.visualize")
