"""The command `python -m experiments.effective_field`."""

from cnnjax.runs import main
from experiments.effective_field import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.effective_field")
