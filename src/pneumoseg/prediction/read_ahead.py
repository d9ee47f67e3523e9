"""Reading ahead, with every input's trouble kept to that input.

An input ends as a finding or as a :class:`Failure`. What :func:`~pneumoseg.reading.read` refuses on
purpose carries its own code; what a poisoned file's values lead to is recorded too, and logged with
its trace, so that one file never stops a run of thousands. A runtime that is broken for all films,
or a slip in our own code, is not one input's trouble and does stop it.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from pneumoseg.errors import InputError, PneumosegError
from pneumoseg.prediction.run_folder import Entry
from pneumoseg.reading import read
from pneumoseg.reading.file import Format, look
from pneumoseg.study import Image

if TYPE_CHECKING:  # OpenVINO takes a second to import
    from pneumoseg.pipeline_inference import Film

READERS = max(2, min(8, os.cpu_count() or 1))
"""Threads that read ahead: decoding a film takes a small part of what the networks take."""
OUT_OF_MEMORY, UNREADABLE = "out-of-memory", "unreadable"
PROCESSING_FAILED = "processing-failed"

_DAMAGED_VALUES = (ArithmeticError, LookupError, ValueError)
"""What values that nobody foresaw raise in code that is right: a count of 0, a short list.
TypeError and AttributeError say that our own code is wrong, whatever the input, and stop the run;
those of the decoders are turned into InputError by :mod:`pneumoseg.reading.decoding`."""
INPUT_ERRORS = (PneumosegError, MemoryError, OSError, RuntimeError, cv2.error, *_DAMAGED_VALUES)
"""What one input may raise while it is read."""
PROCESSING_ERRORS = (InputError, MemoryError, cv2.error, *_DAMAGED_VALUES)
"""What one input may raise in the cascade; a broken runtime (RuntimeError) is not its trouble."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why an input has no finding: one row of ``failures.csv`` without its path."""

    code: str
    message: str


UNKNOWN_PICTURE = Failure(
    "unknown-modality",
    "a picture does not say whether it is an X-ray or a slice of a CT; predict it with "
    "--modality xray or --modality ct",
)


def duplicate_id(image_id: str) -> Failure:
    """A second input with the id of one before it: it would replace or join that one's results."""
    return Failure(
        "duplicate-id",
        f"an earlier input has the same image id {image_id!r}; "
        "rename one of the files, or predict them into different folders",
    )


@dataclass(frozen=True, eq=False)
class Prepared:
    """A film on the grid, and its image where a picture of it is wanted."""

    film: Film
    image: Image | None


def read_ahead(
    entries: Iterable[Entry],
    prepare: Callable[[Image], Film],
    *,
    window: int,
    pictures: bool = True,
    keep_images: bool = False,
) -> Generator[tuple[Entry, Prepared | Failure], None, None]:
    """Read inputs in a few threads, in order, at most ``window`` of them before they are asked for.

    Args:
        entries: the inputs; taken one by one, never all.
        prepare: brings an image onto the grid, in the reading thread.
        window: how many inputs may be read or being read and not yet handed over.
        pictures: whether files that do not say what they show are taken for X-rays.
        keep_images: hand the images over too; they are forgotten otherwise.

    Returns:
        Each input as a film or why there is none. Close it to stop the threads early.
    """
    arriving = iter(entries)
    executor = ThreadPoolExecutor(READERS, thread_name_prefix="read")

    def read_one(entry: Entry) -> Prepared | Failure:
        image = _read(entry, pictures)
        return image if isinstance(image, Failure) else _prepared(image, prepare, keep_images)

    try:
        waiting: deque[tuple[Entry, Future[Prepared | Failure]]] = deque(
            (entry, executor.submit(read_one, entry)) for entry in islice(arriving, window)
        )
        while waiting:
            entry, future = waiting.popleft()
            prepared = future.result()
            del future  # it would keep the film alive while the caller works
            waiting.extend((e, executor.submit(read_one, e)) for e in islice(arriving, 1))
            yield entry, prepared
            del prepared
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _read(entry: Entry, pictures: bool) -> Image | Failure:
    try:
        path = Path(entry.path)
        if not pictures and look(path)[1] is Format.RASTER:
            return UNKNOWN_PICTURE
        return read(path)
    except INPUT_ERRORS as error:
        return failure_of(error, "read", UNREADABLE)


def _prepared(
    image: Image, prepare: Callable[[Image], Film], keep_image: bool
) -> Prepared | Failure:
    try:
        return Prepared(prepare(image), image if keep_image else None)
    except PROCESSING_ERRORS as error:
        return failure_of(error, "processed", PROCESSING_FAILED)


def failure_of(error: BaseException, verb: str, code: str) -> Failure:
    """Put an exception into one clear sentence; log it where nobody foresaw it.

    Args:
        error: what was raised.
        verb: what could not be done with the input, such as ``read``.
        code: where the exception has none of its own.
    """
    if isinstance(error, PneumosegError):
        return Failure(error.code, str(error))
    if isinstance(error, MemoryError):
        return Failure(
            OUT_OF_MEMORY,
            f"there was not enough memory for the film to be {verb}; "
            "predict it alone with batch-size 1, or on a larger machine",
        )
    if not isinstance(error, OSError):
        _log.warning("an input could not be %s", verb, exc_info=error)
    detail = " ".join(str(error).split())[:200] or "no detail"
    return Failure(code, f"the file could not be {verb} ({type(error).__name__}: {detail})")
