"""The command `python -m experiments.jigsaw`."""

from cnnjax.runs import main
from experiments.jigsaw import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.jigsaw")
