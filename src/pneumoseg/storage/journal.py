"""Files that grow by whole lines, may be cut short by a kill at any byte, and are gone on with.

A line counts when its line end is there. What follows the last one is torn and is cut off before
anything is appended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast


def whole_lines(path: Path) -> Iterator[bytes]:
    """Lines of a file one at a time, each with its line end, a torn last one left out.

    Nothing where there is no file; the lengths add up to what :func:`cut` may keep.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def cut(path: Path, size: int) -> None:
    """Drop what lies behind the first ``size`` bytes; no file counts as an empty one.

    Raises:
        ValueError: the file is shorter than that.
    """
    found = path.stat().st_size if path.exists() else 0
    if found < size:
        raise ValueError(f"{path} has {found} bytes, {size} were to be kept")
    if found > size:
        os.truncate(path, size)


class AppendedFile:
    """A file opened to append to; use as a context manager.

    What was appended is with the operating system at once and survives a kill; after :meth:`sync`
    it survives a power cut.

    Attributes:
        was_empty: whether nothing was in it when it was opened.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = cast(BinaryIO, path.open("ab", buffering=0))
        self.was_empty = self._file.tell() == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, content: str | bytes) -> None:
        """Append text (as UTF-8) or bytes, all of it.

        Raises:
            OSError: the disk is full; a part may then be written.
        """
        view = memoryview(content.encode("utf-8") if isinstance(content, str) else content)
        while view:
            view = view[self._file.write(view) :]

    def sync(self) -> None:
        """Make sure that all that was appended is on disk."""
        os.fsync(self._file.fileno())
