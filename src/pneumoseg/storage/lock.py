"""Holding a folder: one process writes into it at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumoseg.errors import UsageError

LOCK = ".lock"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold a run's folder for this process; the lock goes with the process, however it ends.

    Raises:
        UsageError: another run is writing into the folder.
    """
    with (out / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another run is writing into {out}; wait for it or choose another --out"
            ) from error
        yield
