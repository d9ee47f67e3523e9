"""Many films through the cascade, each stage as soon as it has a batch.

    reading threads ─► film on the grid ─► network threads ─► finishing thread ─► caller, in order
    (decode, resize)                       (batches of either   (mask, lesions,
                                            stage, in turn)      run lengths, pictures)

The networks never wait while there is work: the next batch is handed over before the last one's
answer is looked at, so that decoding, outlining and writing happen beside them. Stage two is run
when enough suspected films have come together, not on what one batch of stage one left over. Which
films share a batch depends on their order alone, never on which thread was quicker.

Memory is bounded: a film's own pixels are forgotten as soon as it lies on the grid, unless a
picture of it is wanted, and no more than a few batches are under way. How the whole process shares
processor and memory out while it does this is :func:`prepare_for_many_films`.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.prediction.read_ahead import (
    PROCESSING_ERRORS,
    PROCESSING_FAILED,
    Failure,
    Prepared,
    failure_of,
)
from pneumoseg.prediction.run_folder import Entry
from pneumoseg.study import Detection, Finding

if TYPE_CHECKING:  # OpenVINO takes a second to import
    from pneumoseg.pipeline_inference import Cascade

WAITING = 1
"""Batches that wait at the networks, beside those in work."""
UNDER_WAY = 8
"""Batches of films that may be under way, so that few suspected ones still fill a batch of stage
two; it is also what a kill may cost."""
UNDER_WAY_WITH_IMAGES = 1
"""The same where every film keeps its pixels for a picture."""

LARGEST_KEPT = 64 << 20
"""Bytes; a film of 16 megapixels in float32."""
KEPT_IN_ALL = 256 << 20
"""Bytes at the end of the heap that may lie free."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3), as in glibc's malloc.h."""

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
_Made = TypeVar("_Made")


@dataclass(eq=False)
class _Place(Generic[_Made]):
    """One input's place in the order of results."""

    entry: Entry
    number: int
    prepared: Prepared | None = None
    detection: Detection | None = None
    seconds: float = 0.0
    outcome: Failure | Future[_Made | Failure] | None = None


@dataclass(eq=False)
class _Work(Generic[_Made]):
    """A batch at a network."""

    places: list[_Place[_Made]]
    is_detection: bool
    answers: Future[tuple[list[Any], float]]


def in_stages(
    predictor: Cascade,
    arriving: Iterable[tuple[Entry, Prepared | Failure]],
    *,
    batch_size: int,
    finish: Callable[[Entry, Prepared, Finding], _Made],
    keeps_images: bool = False,
) -> Generator[tuple[Entry, _Made | Failure], None, None]:
    """Take films through both stages.

    Args:
        predictor: the cascade; ``detect`` and ``segment`` are called in as many threads as its
            ``batches_at_once``, ``conclude`` in another.
        arriving: films that are read, in order.
        batch_size: films the networks take at once.
        finish: called in the finishing thread; what it gives for a finding is handed over.
        keeps_images: whether films arrive with their images; fewer are then under way.

    Returns:
        Each input with what ``finish`` gave or why there is none, in the order of arrival. Close
        it to stop early.

    Raises:
        RuntimeError: the network runtime itself failed; that is not one film's trouble.
    """
    most = batch_size * (UNDER_WAY_WITH_IMAGES if keeps_images else UNDER_WAY)
    networks = ThreadPoolExecutor(predictor.batches_at_once, thread_name_prefix="networks")
    run = _Stages(predictor, iter(arriving), batch_size, most, finish, networks)
    try:
        yield from run.results()
    finally:
        run.close()


@dataclass(eq=False)
class _Stages(Generic[_Made]):
    predictor: Cascade
    arriving: Iterator[tuple[Entry, Prepared | Failure]]
    batch_size: int
    most_under_way: int
    finish: Callable[[Entry, Prepared, Finding], _Made]
    networks: ThreadPoolExecutor
    order: deque[_Place[_Made]] = field(default_factory=deque)
    suspected: deque[_Place[_Made]] = field(default_factory=deque)
    at_work: deque[_Work[_Made]] = field(default_factory=deque)
    arrived: int = 0
    all_arrived: bool = False
    finishing: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="finish")
    )

    def results(self) -> Iterator[tuple[Entry, _Made | Failure]]:
        """Keep the networks fed; hand over what is finished, in order."""
        while not self.all_arrived or self.suspected or self.at_work:
            self._feed()
            if self.at_work:
                try:
                    self._take(self.at_work.popleft())
                except RuntimeError:  # a broken runtime ends the run, not what is finished
                    yield from self._finished(0)
                    raise
            yield from self._finished(self.most_under_way)
        yield from self._finished(0)

    def _take(self, work: _Work[_Made]) -> None:
        """Wait for a batch and send each of its films on."""
        answers, seconds = work.answers.result()
        take = self._take_detection if work.is_detection else self._take_map
        for place, answer in zip(work.places, answers, strict=True):
            place.seconds += seconds / len(answers)
            take(place, answer)

    def close(self) -> None:
        """Stop the threads."""
        for executor in (self.networks, self.finishing):
            executor.shutdown(wait=True, cancel_futures=True)

    def _feed(self) -> None:
        """Hand batches to the networks, as many as may wait there."""
        while len(self.at_work) < self.predictor.batches_at_once + WAITING:
            enough = len(self.suspected) >= self.batch_size
            if not (enough or self.all_arrived or self._one_waited_too_long()):
                places = self._arrived()
                if not places:
                    return  # failures alone, or the end: they are handed over first
                self._submit(places, is_detection=True)
                continue
            detecting = any(work.is_detection for work in self.at_work)
            if not self.suspected or (detecting and not enough):
                return  # what is at work may still suspect more
            size = min(self.batch_size, len(self.suspected))
            self._submit([self.suspected.popleft() for _ in range(size)], is_detection=False)

    def _one_waited_too_long(self) -> bool:
        """Whether too many films came after a suspected one; told by the order alone."""
        return (
            bool(self.suspected) and self.arrived - self.suspected[0].number >= self.most_under_way
        )

    def _arrived(self) -> list[_Place[_Made]]:
        """The next batch of films; failures take their place in the order."""
        places: list[_Place[_Made]] = []
        before = self.arrived
        for entry, prepared in islice(self.arriving, self.most_under_way):
            place: _Place[_Made] = _Place(entry, self.arrived)
            self.arrived += 1
            self.order.append(place)
            if isinstance(prepared, Failure):
                place.outcome = prepared
            else:
                place.prepared = prepared
                places.append(place)
                if len(places) == self.batch_size:
                    return places
        self.all_arrived = self.arrived == before
        return places

    def _submit(self, places: list[_Place[_Made]], *, is_detection: bool) -> None:
        grids = [_prepared(place).film.grid for place in places]
        answers: Future[tuple[list[Any], float]]
        if is_detection:
            answers = self.networks.submit(_timed, self.predictor.detect, grids)
        else:
            answers = self.networks.submit(_timed, self._maps, grids)
        self.at_work.append(_Work(places, is_detection, answers))

    def _maps(self, grids: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        return list(self.predictor.segment(grids))

    def _take_detection(self, place: _Place[_Made], detection: Detection | Failure) -> None:
        if isinstance(detection, Failure):
            self._fail(place, detection)
            return
        place.detection = detection
        if self.predictor.passes(detection):
            self.suspected.append(place)
        else:
            self._conclude(place, None)

    def _take_map(self, place: _Place[_Made], probabilities: NDArray[np.float32] | Failure) -> None:
        if isinstance(probabilities, Failure):
            self._fail(place, probabilities)
        else:
            self._conclude(place, probabilities)

    def _fail(self, place: _Place[_Made], failure: Failure) -> None:
        place.outcome, place.prepared = failure, None

    def _conclude(self, place: _Place[_Made], probabilities: NDArray[np.float32] | None) -> None:
        prepared, detection = _prepared(place), place.detection
        assert detection is not None
        place.prepared = None  # the finishing thread has the last hold on the film
        place.outcome = self.finishing.submit(
            _concluded,
            lambda: self.finish(
                place.entry,
                prepared,
                self.predictor.conclude(
                    prepared.film, detection, probabilities, seconds=place.seconds
                ),
            ),
        )

    def _finished(self, may_wait: int) -> Iterator[tuple[Entry, _Made | Failure]]:
        """Results from the front of the order; waits for them only where too many are under way."""
        while self.order:
            outcome = self.order[0].outcome
            if outcome is None:
                return
            if isinstance(outcome, Future):
                if not outcome.done() and len(self.order) < may_wait:
                    return
                result = outcome.result()
            else:
                result = outcome
            yield self.order.popleft().entry, result


def _prepared(place: _Place[_Made]) -> Prepared:
    assert place.prepared is not None
    return place.prepared


def _timed(
    stage: Callable[[Sequence[_Item]], Sequence[_Answer]], items: Sequence[_Item]
) -> tuple[list[_Answer | Failure], float]:
    """A batch's answers, and what it took in seconds."""
    started = perf_counter()
    return _each(stage, items), perf_counter() - started


def _each(
    stage: Callable[[Sequence[_Item]], Sequence[_Answer]], items: Sequence[_Item]
) -> list[_Answer | Failure]:
    """A batch's answers; when it fails, film by film, so that only the culprit is lost."""
    try:
        return list(stage(items))
    except PROCESSING_ERRORS as error:
        if len(items) > 1:
            return [answer for item in items for answer in _each(stage, [item])]
        return [failure_of(error, "processed", PROCESSING_FAILED)]


def _concluded(work: Callable[[], _Made]) -> _Made | Failure:
    try:
        return work()
    except PROCESSING_ERRORS as error:
        return failure_of(error, "processed", PROCESSING_FAILED)


def prepare_for_many_films() -> None:
    """Settle the whole process, for good, on many films at a time rather than one soon.

    OpenCV works in the thread that calls it: the other cores have films of their own, and its
    helpers would only wait for theirs. Freed buffers stay with the process, see
    :func:`keep_freed_memory`.
    """
    cv2.setNumThreads(1)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let the C library keep the buffers of one film for the next.

    Else they go back to the kernel as soon as they are freed, and every film touches new pages,
    each of which the kernel has to find and to clear. Where the C library is not glibc nothing is
    done.
    """
    if not sys.platform.startswith("linux"):
        return
    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_parameter is not None:
        set_parameter(_M_MMAP_THRESHOLD, LARGEST_KEPT)
        set_parameter(_M_TRIM_THRESHOLD, KEPT_IN_ALL)
