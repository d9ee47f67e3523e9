"""Lists the files to read, lazily and in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pneumoseg.errors import UsageError

_Identity = tuple[int, int]
"""Device and inode: one and the same file or folder whatever path leads to it."""


def walk(paths: Sequence[str | Path]) -> Iterator[Path]:
    """List files given and the files below folders given, each once.

    A file given by name is listed as it is. A folder is walked depth first, names sorted, its files
    before its folders, links followed (a loop ends where a folder comes a second time). Below a
    folder, names that begin with a dot are left out; everything else is listed, a ``DICOMDIR`` too,
    so that whatever cannot be read gets its line among the failures. A folder that may not be
    listed is given itself, and reading it says why.

    Args:
        paths: files and folders, checked at once, before the first file is given.

    Returns:
        A lazy iterator; memory grows with folders and links, and with the largest single folder,
        not with the number of files.

    Raises:
        UsageError: a path does not exist, or none is given.
    """
    given = [Path(path) for path in paths]
    if not given:
        raise UsageError("no file or folder was given; name at least one")
    for path in given:
        if not os.path.lexists(path):
            raise UsageError(f"{path} does not exist; give a file or a folder")
    return _walk_all(given)


@dataclass
class _Seen:
    """What must not be listed again: bounded by folders, links and files given by name."""

    roots: list[Path]
    """The folders given, resolved."""
    given: set[_Identity]
    """The files given by name."""
    listed: set[_Identity] = field(default_factory=set)

    def is_new(self, identity: _Identity | None) -> bool:
        """Whether this comes for the first time; remembers it. Unknown identities are new."""
        if identity is None or identity not in self.listed:
            if identity is not None:
                self.listed.add(identity)
            return True
        return False

    def will_be_met(self, link: Path) -> bool:
        """Whether the file behind a link is listed under its own name in this same walk."""
        target = link.resolve()
        return target.exists() and any(
            target.is_relative_to(root)
            and not any(part.startswith(".") for part in target.relative_to(root).parts)
            for root in self.roots
        )


def _walk_all(given: list[Path]) -> Iterator[Path]:
    folders = [path for path in given if path.is_dir()]
    identities = {_identity(path) for path in given if not path.is_dir()}
    seen = _Seen([path.resolve() for path in folders], {i for i in identities if i is not None})
    for path in given:
        if path.is_dir():
            yield from _walk_folder(path, seen)
        elif seen.is_new(_identity(path)):
            yield path


def _walk_folder(folder: Path, seen: _Seen) -> Iterator[Path]:
    """Depth first with an explicit stack: a deep tree must not meet the recursion limit."""
    stack = [folder]
    while stack:
        current = stack.pop()
        if not seen.is_new(_identity(current)):
            continue
        try:
            device = current.stat().st_dev
            with os.scandir(current) as found:
                entries = sorted(
                    (entry.name, entry.inode(), entry.is_symlink(), entry.is_dir())
                    for entry in found
                    if not entry.name.startswith(".")
                )
        except OSError:
            yield current
            continue
        for name, inode, is_link, is_folder in entries:
            if not is_folder and _is_to_list(current / name, (device, inode), is_link, seen):
                yield current / name
        stack.extend(current / name for name, _, _, is_folder in reversed(entries) if is_folder)


def _is_to_list(path: Path, identity: _Identity, is_link: bool, seen: _Seen) -> bool:
    """Whether a file met in a folder is new; plain files are not remembered, there are too many."""
    if is_link:
        return not seen.will_be_met(path) and seen.is_new(_identity(path))
    if identity in seen.given:
        return seen.is_new(identity)
    return identity not in seen.listed


def _identity(path: Path) -> _Identity | None:
    """Device and inode of what the path leads to; None where it leads nowhere."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
