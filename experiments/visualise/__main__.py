"""The command `python -m experiments.visualise`."""

from cnnjax.runs import main
from experiments.visualise import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.visualise")
