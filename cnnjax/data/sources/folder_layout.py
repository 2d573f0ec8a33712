"""Which folders of a directory are classes, and which are splits that hold them: train, val, test."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from cnnjax.data.image_files import contents
from cnnjax.errors import InputError
from cnnjax.files import printable

TRAIN, VALIDATION, TEST = "train", "validation", "test"

_ROLES = {
    **dict.fromkeys(("train", "training", "trainval", "trn"), TRAIN),
    **dict.fromkeys(
        ("val", "valid", "validation", "validate", "dev", "devel", "development", "eval", "evaluation", "holdout"),
        VALIDATION,
    ),
    **dict.fromkeys(("test", "testing", "tst"), TEST),
}
_FILLERS = ("set", "sets", "data", "dataset", "split", "image", "images", "img", "imgs", "folder")
_SHOWN = 5  # names in a message


class Outline(NamedTuple):
    """Whether a folder holds images itself, and the names of the folders directly in it."""

    images: bool
    folders: frozenset[str]


class Splits(NamedTuple):
    """The names of the folders that are splits, by role; other folders beside them are no part of the data."""

    train: str
    validation: str | None
    test: str | None
    others: tuple[str, ...]


def outline(folder: Path) -> Outline:
    """Look at what lies directly in a folder."""
    found = contents(folder)
    return Outline(bool(found.images), frozenset(path.name for path in (*found.folders, *found.links)))


def splits_of(root: Path, outlines: Mapping[str, Outline]) -> Splits | None:
    """Return which folders of `root` are splits, or None if they are classes.

    A folder that is named as a split and holds folders of classes is a split; one that holds images itself, beside
    folders of other names, is a class (of trains). Folders that hold no image themselves but the same folders as each
    other are splits too, of names that tell nothing. Raises `InputError` where it cannot be told, or what is for
    training cannot.
    """
    filled = {name: found for name, found in outlines.items() if found.images or found.folders}
    roles = _roles(outlines)
    others = tuple(name for name in filled if name not in roles)
    nested = {roles[name] for name in roles if outlines[name].folders and not outlines[name].images}
    if not roles:
        _check_no_twins(root, filled)
        return None
    if others and not (TRAIN in nested and len(nested) > 1):
        if nested or len({roles[name] for name in roles if name in filled}) > 1:
            raise _undecided(root, roles, others)
        _check_no_twins(root, filled)
        return None
    found = {}
    for role in (TRAIN, VALIDATION, TEST):
        names = [name for name in roles if roles[name] == role]
        if len(names) > 1:
            raise InputError(
                f"{printable(root)} has several folders for {role}: {_listed(names)}; leave one, or rename the others"
            )
        found[role] = names[0] if names else None
    if found[TRAIN] is None:
        (name, *_) = roles
        raise InputError(
            f"{printable(root)} has no folder train beside {_listed(roles)}; add one with a folder for each class, or "
            f"give data.data_dir {printable(root / name)} to have its images split"
        )
    return Splits(found[TRAIN], found[VALIDATION], found[TEST], others)


def _roles(names: Iterable[str]) -> dict[str, str]:
    """The split that each name stands for, of those that stand for one.

    Words beside it, as in seg_train, count only if no other name could be a class's.
    """
    words = {name: re.findall(r"[a-z]+", name.lower()) for name in names}
    loose = {name: {_ROLES[word] for word in words[name] if word in _ROLES} for name in words}
    told_apart = all(len(roles) == 1 for roles in loose.values()) and set().union(*loose.values()) > {TRAIN}
    if told_apart:
        return {name: next(iter(roles)) for name, roles in loose.items()}
    strict = {}
    for name in words:
        telling = [word for word in words[name] if word not in _FILLERS]
        if len(telling) == 1 and (role := _role(telling[0])):
            strict[name] = role
    return strict


def _role(word: str) -> str | None:
    for filler in ("", *_FILLERS):
        if word.endswith(filler) and (role := _ROLES.get(word.removesuffix(filler))):
            return role
    return None


def _check_no_twins(root: Path, outlines: Mapping[str, Outline]) -> None:
    nested = {name: found.folders for name, found in outlines.items() if not found.images and len(found.folders) > 1}
    largest = max(nested.values(), key=len, default=frozenset())
    twins = [name for name, folders in nested.items() if folders <= largest]
    if len(twins) > 1:
        raise InputError(
            f"the folders {_listed(twins)} of {printable(root)} hold no image themselves but the same folders "
            f"({_listed(sorted(largest))}), so they look like splits, not classes; name them train, val or test, give "
            f"data.data_dir {printable(root / twins[0])} for one of them, or, if they are classes, put the images "
            "directly into them"
        )


def _undecided(root: Path, roles: Iterable[str], others: Iterable[str]) -> InputError:
    return InputError(
        f"{printable(root)} has {_listed(roles)}, by name a split, beside {_listed(others)}. For splits, make folders "
        "train and val (or test), each with a folder for every class, and move the others elsewhere; for a class of "
        "such a name, put its images directly into its folder, and have no other class with the name of a split"
    )


def _listed(names: Iterable[str]) -> str:
    shown = [printable(name) for name in names]
    return ", ".join(shown[:_SHOWN]) + (f" and {len(shown) - _SHOWN:,} more" if len(shown) > _SHOWN else "")
