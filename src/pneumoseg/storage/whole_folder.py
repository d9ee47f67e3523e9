"""A folder of results is there whole or not at all, whatever happens while it is made."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


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
