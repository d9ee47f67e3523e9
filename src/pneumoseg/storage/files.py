"""What a kill at any byte leaves usable: whole files, whole folders, appended lines, the lock.

A file or folder of results is there whole or not at all, whatever happens while it is made. A file
that grows does so by whole lines and is gone on with: a line counts when its line end is there,
what follows the last one is torn and is cut off before anything is appended. One process writes
into a run's folder at a time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Generic, Self, TypeVar, cast

from pneumoseg.errors import UsageError

_Content = TypeVar("_Content")

LOCK = ".lock"


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


@contextmanager
def whole_folder(folder: Path, earlier: Collection[str]) -> Iterator[Path]:
    """Give a neighbour folder to write to; its content moves into ``folder`` when all is well.

    Args:
        folder: where the results belong; may hold other things, which stay.
        earlier: names of files and folders that earlier results left in ``folder``: removed when
            the new ones are complete, so that results of two calls never stand side by side.

    Yields:
        The folder to write to; removed when the body raises.

    Raises:
        OSError: a folder cannot be written to.
    """
    part = folder.with_name(f".{folder.name}.part")
    if part.exists():
        shutil.rmtree(part)  # of a process that was killed
    part.mkdir(parents=True)
    try:
        yield part
        folder.mkdir(exist_ok=True)
        for name in earlier:
            old = folder / name
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
        for made in sorted(part.iterdir()):
            made.replace(folder / made.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


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


class Torn(Exception):
    """A line is nothing that was ever written, as after a power cut."""


class Cursor(Generic[_Content]):
    """Walks over the whole, well-formed lines of a file, to cut off what is not taken.

    Args:
        file: may be missing.
        read: makes of a line and its place the input's path and what else it says; raises
            :class:`Torn` or ValueError where the line is none.
        header: the first line, where there has to be one.

    Attributes:
        path: of the current line's input, None behind the last line.
    """

    def __init__(
        self,
        file: Path,
        read: Callable[[bytes, str], tuple[str | None, _Content]],
        *,
        header: bytes = b"",
    ) -> None:
        self._file, self._read = file, read
        self._lines: Iterator[bytes] = whole_lines(file)
        self._good = 0  # bytes up to the end of the last line taken
        self._line, self._number = b"", 0
        self.path: str | None = None
        self._content: _Content
        if header and next(self._lines, None) == header:
            self._good, self._number = len(header), 1
        elif header:
            self._lines = iter(())
        self._next()

    def advance(self) -> _Content:
        """Take the current line: return its content and go to the next."""
        content = self._content
        self._good += len(self._line)
        self._next()
        return content

    def count_ahead(self) -> int:
        """Count the whole lines not taken, the current one included; leaves nothing to take."""
        return (self.path is not None) + sum(1 for _ in self._lines)

    def cut(self) -> None:
        """Drop everything that was not taken."""
        cut(self._file, self._good)

    def _next(self) -> None:
        self._line, self.path = next(self._lines, b""), None
        self._number += 1
        if self._line:
            try:
                where = f"{self._file}, line {self._number}"
                self.path, self._content = self._read(self._line, where)
            except (Torn, ValueError):
                self._lines = iter(())  # a power cut can leave a line of zeros: stop before it


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


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold a run's folder for this process; the lock goes with the process, however it ends.

    Raises:
        UsageError: another run is writing into the folder.
    """
    import fcntl  # POSIX alone has it; the rest of this module is used elsewhere too

    with (out / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another run is writing into {out}; wait for it or choose another --out"
            ) from error
        yield
