"""Ray Data under a run: blocks of inputs to workers, outcomes back in order, and what got lost.

Ray Data keeps the order, restarts a worker that dies and gives its block one more try. A block that
is lost even so leaves a gap in the numbers; its inputs are then predicted one by one in a worker
apart, so that only the input that ends workers is reported. Restarts are bounded by that: an input
takes part in two tries of its block and one alone.
"""

from __future__ import annotations

import pickle
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pneumoseg.errors import RuntimeUnavailableError
from pneumoseg.prediction.ray.cluster import Workers, without_deprecations
from pneumoseg.prediction.ray.worker import FilmWorker, Outcome, Work
from pneumoseg.prediction.read_ahead import Failure
from pneumoseg.prediction.run_folder import Entry

BATCHES_IN_BLOCK = 4
"""Batches that a worker takes through both stages in one go."""
BLOCKS_AT_ONCE = 2
"""In one worker: one is read while the networks work on the other."""
BLOCKS_WAITING = 3
"""Sent to a worker, those at work included: what its death may cost a try."""
RETRIES = 1
"""Of a block after its worker died."""
MOST_DEATHS_IN_A_ROW = 8
"""Inputs that each end a worker of their own, one after another: then it is not the inputs."""
WORKER_DIED = "worker-died"


class Engine:
    """The workers of one run."""

    def __init__(self, work: Work, workers: Workers) -> None:
        self._work, self._workers = work, workers
        self._alone: Any = None
        self._deaths_in_a_row = 0

    def predict(self, entries: Sequence[Entry]) -> Generator[tuple[Entry, Outcome], None, None]:
        """Predict inputs, each of them with its outcome, order kept.

        Args:
            entries: as many as the driver may hold; the workers are started anew for each call.

        Raises:
            RuntimeUnavailableError: workers cannot go on, whatever the input.
        """
        position = 0
        for number, outcome in self._arriving(entries):
            for lost in entries[position:number]:
                yield lost, self._isolated(lost)
            position = number + 1
            if outcome.fatal is not None:
                raise RuntimeUnavailableError(f"a worker cannot go on: {outcome.fatal}")
            yield entries[number], outcome
        for lost in entries[position:]:
            yield lost, self._isolated(lost)

    def close(self) -> None:
        """End the worker apart."""
        if self._alone is not None:
            import ray

            with suppress(ray.exceptions.RayError):
                ray.kill(self._alone)
        self._alone = None

    def _arriving(self, entries: Sequence[Entry]) -> Iterator[tuple[int, Outcome]]:
        """Outcomes by the number of their input, increasing; lost blocks are missing."""
        size = BATCHES_IN_BLOCK * self._work.settings.batch_size
        with _unavailable("workers cannot be started"), without_deprecations():
            batches = iter(self._dataset(entries, size).iter_batches(batch_size=None))
        while True:
            # Not around the yield: what the caller raises is none of Ray's.
            with _unavailable("workers cannot go on"), without_deprecations():
                batch = next(batches, None)
            if batch is None:
                return
            for number, outcome in zip(batch["number"], batch["outcome"], strict=True):
                yield int(number), pickle.loads(outcome)

    def _dataset(self, entries: Sequence[Entry], size: int) -> Any:
        import pyarrow
        import ray.data

        blocks = [
            pyarrow.table(
                {
                    "number": pyarrow.array(range(start, min(start + size, len(entries)))),
                    "entry": pyarrow.array(
                        [pickle.dumps(entry) for entry in entries[start : start + size]],
                        pyarrow.binary(),
                    ),
                }
            )
            for start in range(0, len(entries), size)
        ]
        dataset = ray.data.from_arrow(blocks).map_batches(
            FilmWorker,
            fn_constructor_args=(self._work,),
            batch_size=size,
            batch_format="pyarrow",
            num_cpus=self._workers.threads,
            num_gpus=self._workers.gpus,
            compute=ray.data.ActorPoolStrategy(
                size=min(self._workers.count, len(blocks)),
                max_tasks_in_flight_per_actor=BLOCKS_WAITING,
                max_concurrent_calls_per_actor=BLOCKS_AT_ONCE,
                enable_true_multi_threading=True,
            ),
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
        dataset.context.enable_progress_bars = False
        dataset.context.max_errored_blocks = -1  # the gap is found and filled by predict()
        dataset.context.execution_options.preserve_order = True
        return dataset

    def _isolated(self, entry: Entry) -> Outcome:
        """Predict one input in a worker that nothing else depends on."""
        import ray

        if self._alone is None:
            # No processors of its own: it must not wait for the workers.
            actor = ray.remote(FilmWorker).options(num_cpus=0, max_restarts=0, max_task_retries=0)
            self._alone = actor.remote(self._work)
        try:
            outcome: Outcome = ray.get(self._alone.outcomes.remote([entry]))[0]
        except ray.exceptions.RayError as error:
            self.close()
            self._deaths_in_a_row += 1
            if self._deaths_in_a_row >= MOST_DEATHS_IN_A_ROW:
                raise RuntimeUnavailableError(
                    f"{MOST_DEATHS_IN_A_ROW} inputs in a row ended their worker, the last one "
                    f"{entry.path} ({_last_line(error)}); see Ray's log of the session"
                ) from error
            return Outcome(
                failure=Failure(
                    WORKER_DIED,
                    "the process that read and predicted this file ended without a word, three "
                    "times; look at the file with another program",
                )
            )
        self._deaths_in_a_row = 0
        if outcome.fatal is not None:
            raise RuntimeUnavailableError(f"a worker cannot go on: {outcome.fatal}")
        return outcome


@contextmanager
def _unavailable(what: str) -> Iterator[None]:
    """Turn Ray's trace into one sentence."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        raise RuntimeUnavailableError(
            f"{what} ({_last_line(error)}); install the same versions of pneumoseg, ray and Python "
            "on all machines, and see Ray's log of the session"
        ) from error


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1][:200] if lines else type(error).__name__
