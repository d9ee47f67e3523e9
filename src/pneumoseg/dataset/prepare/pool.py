"""Some processes that prepare files, their results in the order of the files."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pneumoseg.dataset.prepare.journal import PreparedRecord
from pneumoseg.dataset.prepare.source import LabelledSource
from pneumoseg.errors import DataError

FEWEST = 32
"""For fewer files no processes are started: that costs more than a few files."""

_worker_sources: list[LabelledSource] = []
"""The labels of all sources, once in every worker process instead of once a task."""


def prepare_in_order(
    sources: Sequence[LabelledSource],
    todo: Sequence[tuple[int, Path]],
    *,
    workers: int,
    ahead: int,
) -> Iterator[tuple[PreparedRecord, ...]]:
    """Prepare files in some processes.

    Args:
        sources: the data sets.
        todo: which source's file, each.
        workers: processes; 1 prepares in this one.
        ahead: files a process may be ahead of what is taken here; bounds the memory.

    Yields:
        What becomes of each file, in the order of the files.

    Raises:
        DataError: a process died.
    """
    if workers == 1 or len(todo) < FEWEST:
        for index, path in todo:
            yield sources[index].prepare(path)
        return
    context = multiprocessing.get_context("spawn")  # fork is unsafe beside a progress bar's thread
    with ProcessPoolExecutor(workers, context, _start_worker, (list(sources),)) as pool:
        waiting: deque[Future[tuple[PreparedRecord, ...]]] = deque()
        try:
            for task in todo:
                waiting.append(pool.submit(_work, task))
                if len(waiting) >= workers * ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DataError(
                "a reading process died (out of memory, or a decoder crashed); run prepare again "
                "to go on from here, with workers = 1 if it happens again"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker(sources: list[LabelledSource]) -> None:
    _worker_sources[:] = sources
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when the run is killed; it would wait for work for ever otherwise."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: tuple[int, Path]) -> tuple[PreparedRecord, ...]:
    index, path = task
    return _worker_sources[index].prepare(path)
