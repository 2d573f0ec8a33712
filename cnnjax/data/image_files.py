"""Which files of a folder are images, and what is left out of it."""

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from cnnjax.errors import InputError
from cnnjax.files import printable

SUFFIXES = (
    ".bmp",
    ".dib",
    ".gif",
    ".jfif",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
"""How the names of images end, in any case: those of `decode.FORMATS`."""

LINK = "link to a folder"
_HIDDEN, _SPECIAL = "hidden file or folder", "pipe, device or broken link"
_SHOWN = 8  # kinds of things that were left out


class Contents(NamedTuple):
    """What lies directly in a folder, each in name order: images, folders, links to folders, and all else counted."""

    images: list[Path]
    folders: list[Path]
    links: list[Path]
    left_out: Counter[str]


def contents(folder: Path) -> Contents:
    """Sort what lies directly in `folder`; raises `InputError` if it cannot be read.

    Nothing is opened: a pipe would wait for a writer.
    """
    images, folders, links, left_out = [], [], [], Counter()
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            path = Path(entry.path)
            # A path says of a broken or circular link that it is neither; an entry knows the rest without a look.
            known = path if entry.is_symlink() else entry
            if entry.name.startswith("."):
                left_out[_HIDDEN] += 1
            elif known.is_dir():
                (links if known is path else folders).append(path)
            elif not known.is_file():
                left_out[_SPECIAL] += 1
            elif path.suffix.lower() in SUFFIXES:
                images.append(path)
            else:
                left_out[printable(path.suffix.lower()) or "file without an ending"] += 1
    except OSError as error:
        raise InputError(
            f"the folder {printable(folder)} cannot be read ({error.strerror}); mend or move it"
        ) from error
    return Contents(images, folders, links, left_out)


def image_files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the images in `folder` and the folders below, in name order, and what was left out by kind.

    Hidden files and folders hold copies, such as those of notebooks, and links to folders may lead round in a circle:
    neither is entered. Links to files are read. Raises `InputError` for a folder that cannot be read.
    """
    files, left_out, folders = [], Counter(), [folder]
    while folders:
        found = contents(folders.pop())
        files += found.images
        folders += found.folders
        left_out += found.left_out + Counter({LINK: len(found.links)})
    return sorted(files), left_out


def describe_left_out(left_out: Counter[str]) -> str:
    """Say what was left out, the most frequent first: `left out: .txt ×12, link to a folder ×1`; else nothing."""
    if not left_out:
        return ""
    kinds = left_out.most_common(_SHOWN)
    if rest := left_out.total() - sum(count for _, count in kinds):
        kinds.append(("others", rest))
    return "left out: " + ", ".join(f"{kind} ×{count:,}" for kind, count in kinds)
