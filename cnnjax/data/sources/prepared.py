"""Where a prepared tensorflow-datasets dataset lies on disk, and what to say when it does not."""

import difflib
import os
import re
from pathlib import Path
from typing import Any

from cnnjax.data.config import EMBEDDED, DataConfig
from cnnjax.errors import InputError

NAME = re.compile(r"(?P<dataset>\w+)(/(?P<configuration>[\w.\-]+))?(:(?P<version>\d+\.\d+\.\d+))?")


def root(config: DataConfig) -> Path:
    """Return where prepared datasets lie: `config.data_dir`, `$TFDS_DATA_DIR` or the place tensorflow-datasets uses."""
    return Path(config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def find(config: DataConfig, tfds: Any) -> Path:
    """Return the directory of the newest prepared version of `dataset[/configuration][:version]`.

    Raises `InputError` for a name nobody knows, with the nearest ones, and for a dataset that is not prepared, with
    the commands that prepare it.
    """
    parts = NAME.fullmatch(config.name)
    if parts is None:
        raise unknown(config, tfds.list_builders(with_community_datasets=False))
    folder = root(config) / parts["dataset"]
    if parts["configuration"]:
        folder /= parts["configuration"]
    versions = _versions(folder)
    if versions and not parts["version"]:
        return folder / max(versions, key=lambda version: [int(number) for number in version.split(".")])
    if parts["version"] in versions:
        return folder / parts["version"]
    if versions:
        raise InputError(f'"{config.name}" is not among the prepared versions in {folder}: {", ".join(versions)}')
    configurations = [name for name in _folders(folder) if _versions(folder / name)]
    if configurations:
        choices = ", ".join(f"{parts['dataset']}/{name}" for name in configurations)
        raise InputError(f'"{config.name}" is prepared in several configurations; name one: {choices}')
    known = tfds.list_builders(with_community_datasets=False)
    if parts["dataset"] not in known:
        raise unknown(config, known)
    raise InputError(
        f'"{config.name}" is not prepared in {root(config)}. Give data.data_dir if it lies elsewhere, or '
        + preparation(config.name, root(config))
    )


def unknown(config: DataConfig, known: list[str]) -> InputError:
    """Return the error for a name that is neither embedded, nor prepared, nor known to tensorflow-datasets."""
    prepared = _folders(root(config))
    near = difflib.get_close_matches(config.name.lower(), {*EMBEDDED, *prepared, *known}, n=4, cutoff=0.6)
    suggestion = f"; perhaps you meant {' or '.join(near)}" if near else ""
    return InputError(
        f'unknown dataset "{config.name}"{suggestion}. Use {", ".join(EMBEDDED)}, or a name of tensorflow-datasets'
        + (f" ({', '.join(prepared)} lie in {root(config)})" if prepared else "")
    )


def preparation(name: str, data_dir: Path | str) -> str:
    """Return the sentence that says how a stock dataset is prepared in `data_dir`."""
    return (
        "prepare it once, which needs TensorFlow: "
        'python -m pip install "cnnjax[prepare]" (in a clone: python -m pip install -e ".[prepare]"), and then '
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', data_dir='{data_dir}', file_format='array_record').download_and_prepare()\""
    )


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []


def _versions(folder: Path) -> list[str]:
    return [
        name
        for name in _folders(folder)
        if re.fullmatch(r"\d+\.\d+\.\d+", name) and (folder / name / "dataset_info.json").is_file()
    ]
