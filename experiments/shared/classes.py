"""What the classes of a network are called, and which of them is right for an image, where that is known."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnnjax.errors import InputError
from cnnjax.files import read_file
from experiments.shared.subject import Images


@dataclasses.dataclass(frozen=True, eq=False)
class Classes:
    """The classes of one network."""

    names: tuple[str, ...] | None
    """By index; None where they are not known."""
    labels: np.ndarray | None
    """int32 (images,), the right class of each image; None where that is not known."""
    note: str
    """Whose names these are, or why there is no accuracy."""


def read_names(file: Path) -> tuple[str, ...]:
    """The names of classes in a text file, one a line, by index.

    Raises InputError for a file that cannot be read or is no text, an empty one, and a name that comes twice.
    """
    content = read_file(file, "give a text file with the name of a class in each line, in the network's order")
    try:
        names = tuple(line.strip() for line in content.decode().splitlines())
    except UnicodeDecodeError as error:
        raise InputError(f"class_names={file} is not text in UTF-8: give the name of a class in each line") from error
    if not names or "" in names:
        raise InputError(f"class_names={file} has {'an empty line' if names else 'no line'}: give a name in each line")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"class_names={file} has {twice[0]!r} twice: give each class a name of its own")
    return names


def match(images: Images, count: int, names: Sequence[str] | None, *, network: str) -> Classes:
    """The classes of a network of `count` classes: by the names of a file if given, else by the data's if as many.

    Raises InputError for names of another number of classes.
    """
    known = images.class_names or ()
    if names is not None:
        if len(names) != count:
            raise InputError(
                f"class_names has {len(names)} names, but {network} has {count} classes: give one for each"
            )
        if missing := [name for name in known if name not in names]:
            why = f"No accuracy: {missing[0]!r} of the images is none of the {count} names of the network's classes."
            return Classes(tuple(names), None, why)
        place = np.array([names.index(name) for name in known], np.int32)
        labels = None if images.labels is None else place[images.labels]
        return Classes(tuple(names), labels, "Right is the class of the same name.")
    if len(known) != count:
        why = f"No accuracy: the network has {count} classes, the images {len(known)}; --class-names can name them."
        return Classes(None, None, why)
    return Classes(tuple(known), images.labels, "Right is the class of the same number in the order of the images'.")
