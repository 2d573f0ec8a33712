"""The command `python -m experiments.explorer`."""

from cnnjax.runs import main
from experiments.explorer import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.explorer")
