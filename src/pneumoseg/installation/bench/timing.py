"""Times several pieces of work in turn, so that a change of the machine meets all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np

FEWEST_REPEATS = 3
"""Made whatever time they take: fewer have no spread."""


@dataclass(frozen=True)
class Timing:
    """What a step takes, in ms a film: median and quartiles over the repeats."""

    step: str
    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float
    repeats: int
    films_per_repeat: int

    @classmethod
    def of(cls, step: str, seconds: list[float], films_per_repeat: int) -> Timing:
        """Sum up repeats.

        Args:
            step: its name.
            seconds: of each repeat, one or more.
            films_per_repeat: films that each repeat worked on.
        """
        each = 1000.0 * np.asarray(seconds, dtype=np.float64) / films_per_repeat
        low, median, high = (float(value) for value in np.quantile(each, (0.25, 0.5, 0.75)))
        return cls(step, median, low, high, len(seconds), films_per_repeat)


def time_in_turn(
    steps: Mapping[str, Callable[[int], object]],
    *,
    seconds: float,
    on_progress: Callable[[float], None] | None = None,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, list[float]]:
    """Time every step once a round, round after round, until the time is used up.

    Args:
        steps: name -> work; it is given the number of the round, from 0.
        seconds: a round is begun while less than this has gone by, and ``FEWEST_REPEATS`` rounds
            whatever has gone by.
        on_progress: called with the seconds gone by after each round.
        clock: in seconds.

    Returns:
        Name -> seconds of each round, in order.
    """
    taken: dict[str, list[float]] = {name: [] for name in steps}
    started = clock()
    done, gone_by = 0, 0.0
    while done < FEWEST_REPEATS or gone_by < seconds:
        for name, work in steps.items():
            before = clock()
            work(done)
            taken[name].append(clock() - before)
        done += 1
        gone_by = clock() - started
        if on_progress is not None:
            on_progress(gone_by)
    return taken
