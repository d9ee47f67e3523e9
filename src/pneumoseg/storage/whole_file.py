"""A file is there whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to; it takes the real name when all is well.

    The temporary file is removed when the body raises. A process killed in between leaves a hidden
    ``.NAME.part`` that the next writer of the same file replaces.

    Raises:
        OSError: the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # the name must not come to stand for content not yet on disk
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
