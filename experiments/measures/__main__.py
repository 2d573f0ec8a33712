"""The command `python -m experiments.measures`."""

from cnnjax.runs import main
from experiments.measures import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.measures")
