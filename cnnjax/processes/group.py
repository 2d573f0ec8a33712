"""What several processes agree on, by the store of keys that JAX's coordinator keeps for them.

Nothing here waits inside a collective: on a CPU that fails after 30 seconds, and no signal is heard in it.
"""

import atexit
import dataclasses
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_LOOK_EVERY = 1000  # milliseconds between two chances for Python to hear of a signal
_LARGE = 2**20  # bytes: the store takes ten megabytes a second, a broadcast what the network gives
_PART = 2**25


@dataclasses.dataclass
class Group:
    """The processes, seen from one of them."""

    index: int
    count: int
    store: Any
    """The client of JAX's coordinator."""
    turns: Iterator[int] = dataclasses.field(default_factory=itertools.count)
    """Numbers for what is agreed on, the same in all processes."""
    meetings: int = 0
    """How often all have met."""

    @property
    def era(self) -> str:
        """The folder of the store for all that is said between two meetings."""
        return f"cnnjax/{self.meetings}"


joined: Group | None = None
"""The processes that `start` has brought together; None: this one is alone."""

_folders: list[Path] = []


def count() -> int:
    """How many processes train together."""
    return joined.count if joined else 1


def index() -> int:
    """The number of this one."""
    return joined.index if joined else 0


def first() -> bool:
    """Whether this process is the one that decides, writes and is heard."""
    return index() == 0


def agreed(make: Callable[[], bytes]) -> bytes:
    """What `make()` returns in process 0, which alone calls it; the others wait, for as long as that takes."""
    if joined is None:
        return make()
    key = f"{joined.era}/agreed/{next(joined.turns)}"
    content = make() if first() else b""
    large = len(content) > _LARGE
    if first():
        note = len(content).to_bytes(8, "little") + (b"" if large else content)
        joined.store.key_value_set_bytes(key, note)
    else:
        note = _wait(key)
        length, content = int.from_bytes(note[:8], "little"), note[8:]
        large = length > len(content)
        content = bytes(length) if large else content
    return _broadcast(content) if large else content


def agreed_number(own: int) -> int:
    """The number that process 0 gives."""
    return int(agreed(lambda: b"%d" % own))


def meet() -> None:
    """Wait until all processes are here, for as long as that takes."""
    if joined is None:
        return
    import jax

    key = f"{joined.era}/met"
    if joined.store.key_value_increment(f"{key}/here", 1) == joined.count:
        joined.store.key_value_set_bytes(f"{key}/all", b"all")
    _wait(f"{key}/all")
    jax.devices()  # which JAX starts in all at the same time, or fails after two minutes
    joined.meetings += 1
    if first() and joined.meetings > 1:
        joined.store.key_value_delete(f"cnnjax/{joined.meetings - 2}")  # all have read it, for they came to this one


def scratch() -> Path:
    """A new folder for the files of a process that does not write, which goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="cnnjax-"))
    _folders.append(folder)
    return folder


@atexit.register
def remove_scratch() -> None:
    """Remove what `scratch` has made."""
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)


def _wait(key: str) -> bytes:
    import jax

    assert joined is not None
    while True:
        try:
            return joined.store.blocking_key_value_get_bytes(key, _LOOK_EVERY)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def _broadcast(content: bytes) -> bytes:
    """The content that process 0 has, through the devices; in parts of one shape, for one program."""
    import numpy as np
    from jax.experimental.multihost_utils import broadcast_one_to_all

    found = []
    meet()
    for start in range(0, len(content), _PART):
        part = np.zeros(_PART, np.uint8)
        here = np.frombuffer(content[start : start + _PART], np.uint8)
        part[: len(here)] = here
        found.append(np.asarray(broadcast_one_to_all(part))[: len(here)].tobytes())
    return b"".join(found)
