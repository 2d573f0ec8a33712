"""The command `python -m experiments.receptive_field`."""

from cnnjax.runs import main
from experiments.receptive_field import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.receptive_field")
