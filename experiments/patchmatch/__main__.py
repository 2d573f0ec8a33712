"""The command `python -m experiments.patchmatch`."""

from cnnjax.runs import main
from experiments.patchmatch import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.patchmatch")
