"""Reading ahead and predicting a batch, with every input's trouble kept to that input.

An input ends as a finding or as a :class:`Failure`. What :func:`~pneumoseg.reading.read` refuses on
purpose carries its own code; what nobody foresaw is recorded too, and logged with its trace, so
that one poisoned file never stops a run of thousands. A runtime that is broken for all films is not
one input's trouble and does stop it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import cv2

from pneumoseg.errors import InputError, PneumosegError
from pneumoseg.prediction_folder import Entry
from pneumoseg.reading import read
from pneumoseg.settings import PipelineConfig
from pneumoseg.study import Finding, Image

READERS = 2
"""Threads that read ahead: decoding a film takes a small part of what the networks take."""
OUT_OF_MEMORY, UNREADABLE = "out-of-memory", "unreadable"
PROCESSING_FAILED = "processing-failed"

_UNFORESEEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why an input has no finding: one row of ``failures.csv`` without its path."""

    code: str
    message: str


class _Card(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...


class _Bundle(Protocol):
    @property
    def card(self) -> _Card: ...


class Predictor(Protocol):
    """What a run needs of :class:`~pneumoseg.pipeline_inference.Cascade`."""

    @property
    def config(self) -> PipelineConfig:
        """The operating point in force."""

    @property
    def bundle(self) -> _Bundle:
        """The bundle, for its name and version."""

    def predict_batch(self, images: Sequence[Image]) -> list[Finding]:
        """Give each film its finding, order kept."""


def read_ahead(
    entries: Iterable[Entry], *, window: int
) -> Generator[tuple[Entry, Image | Failure], None, None]:
    """Read inputs in a few threads, in order, at most ``window`` of them before they are asked for.

    Args:
        entries: the inputs; taken one by one, never all.
        window: how many inputs may be read or being read and not yet handed over.

    Returns:
        Each input with its image or why there is none. Close it to stop the threads early.
    """
    arriving = iter(entries)
    executor = ThreadPoolExecutor(READERS, thread_name_prefix="read")
    try:
        waiting: deque[tuple[Entry, Future[Image | Failure]]] = deque(
            (entry, executor.submit(_read, entry)) for entry in islice(arriving, window)
        )
        while waiting:
            entry, future = waiting.popleft()
            image = future.result()
            del future  # it would keep the film alive while the caller works
            waiting.extend((e, executor.submit(_read, e)) for e in islice(arriving, 1))
            yield entry, image
            del image
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def predict_each(predictor: Predictor, images: Sequence[Image]) -> list[Finding | Failure]:
    """Predict a batch; when it fails, film by film, so that only the culprit is lost.

    Args:
        predictor: the cascade.
        images: the batch, possibly empty.

    Returns:
        For each film its finding or its failure, order kept.

    Raises:
        UsageError: the bundle is unusable here; that concerns every film.
        RuntimeError: the network runtime itself failed.
    """
    if not images:
        return []
    try:
        return list(predictor.predict_batch(images))
    except (InputError, MemoryError, cv2.error, *_UNFORESEEN) as error:
        if len(images) > 1:
            return [result for image in images for result in predict_each(predictor, [image])]
        return [_failure(error, "processed", PROCESSING_FAILED)]


def _read(entry: Entry) -> Image | Failure:
    try:
        return read(Path(entry.path))
    except (PneumosegError, MemoryError, OSError, RuntimeError, cv2.error, *_UNFORESEEN) as error:
        return _failure(error, "read", UNREADABLE)


def _failure(error: BaseException, verb: str, code: str) -> Failure:
    """Put an exception into one clear sentence; log it where nobody foresaw it."""
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
