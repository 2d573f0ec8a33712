"""The command `python -m experiments.subpixel`."""

from cnnjax.runs import main
from experiments.subpixel import CIFAR10, Config, run

if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.subpixel", presets={"cifar10": CIFAR10})
