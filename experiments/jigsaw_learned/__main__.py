"""The command `python -m experiments.jigsaw_learned`."""

from cnnjax.runs import main
from experiments.jigsaw_learned import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.jigsaw_learned")
