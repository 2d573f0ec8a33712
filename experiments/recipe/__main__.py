"""The command `python -m experiments.recipe`."""

from cnnjax.runs import main
from experiments.recipe import IMAGENET, Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.recipe", presets={"imagenet": IMAGENET})
