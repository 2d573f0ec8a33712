"""The command `python -m experiments.sample_complexity`."""

from cnnjax.runs import main
from experiments.sample_complexity import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.sample_complexity")
