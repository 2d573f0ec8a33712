"""The command: python -m experiments.benchmarks.scale."""

from cnnjax.runs import main
from experiments.benchmarks.scale import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.scale")
