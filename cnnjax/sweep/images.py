"""The images of an experiment, said before it trains on them."""

from cnnjax.data import DataConfig, Dataset, load
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.runs import Progress
from cnnjax.sweep.ranges import check_memory


@checked()
def load_images(config: DataConfig, progress: Progress, *, max_shift: int = 0, stream: bool = False) -> Dataset:
    """Read the images that `config` names, and print which they are and how many each class has.

    See `cnnjax.data.load` for `max_shift`, `stream` and for what is refused; also more images than memory holds.
    """
    side = config.canvas or config.size or 1
    count = (config.train_images or 0) + (config.test_images or 0)
    drawn = config.name.endswith("shapes")  # as many as are asked for; of others there are no more than there are
    check_memory(
        3 * max(count if drawn else 1, 1) * (max(side, 32) if drawn else side) ** 2,
        f"data.train_images={config.train_images} and data.test_images={config.test_images} of {side} pixels",
        "give fewer or smaller ones",
    )
    dataset = load(config, max_shift=max_shift, stream=stream, progress=progress.prepare)
    progress.note(f"{dataset.note}\n{dataset.describe_classes()}")
    return dataset


def check_moves(dataset: Dataset, **pixels: int | float) -> None:
    """Raise `InputError` where an option would move whole images of the training set out of their frame."""
    side = min(dataset.train.images.shape[1:3])
    for name, value in pixels.items():
        if value >= side:
            raise InputError(f"{name}={value} moves images of {side} pixels out of sight: give less than {side}")
