"""The command `python -m experiments.self_similarity`."""

from cnnjax.runs import main
from experiments.self_similarity import Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.self_similarity")
