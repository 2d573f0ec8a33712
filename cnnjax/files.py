"""Files that are either the old ones or the new ones, never half of either."""

import os
import secrets
from pathlib import Path


def write_atomic(path: Path, content: bytes | str) -> None:
    """Put `content` (text as UTF-8) at `path` in one step: even a kill leaves the old file or the new.

    Raises OSError where the folder is absent or cannot be written; what was at `path` is then untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    # In the same directory, because os.replace is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
