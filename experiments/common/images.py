"""The images of an experiment, said before it trains on them."""

from cnnjax.data import DataConfig, Dataset, load
from cnnjax.study import Progress


def load_images(config: DataConfig, progress: Progress, *, max_shift: int = 0) -> Dataset:
    """Read the images that `config` names, and print which they are and how many each class has.

    See `cnnjax.data.load` for `max_shift` and for what is refused.
    """
    dataset = load(config, max_shift=max_shift, progress=progress.prepare)
    progress.note(f"{dataset.note}\n{dataset.describe_classes()}")
    return dataset
