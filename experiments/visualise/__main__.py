"""The command `python -m experiments.visualise`."""

from cnnjax.study import main
from experiments.visualise import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.visualise")
