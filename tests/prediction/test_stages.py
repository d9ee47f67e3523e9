"""Stages fed side by side: batches depend on the order of films alone, results keep that order."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pneumoseg.pipeline_inference import Film
from pneumoseg.prediction.read_ahead import Failure, Prepared
from pneumoseg.prediction.run_folder import Entry
from pneumoseg.prediction.stages import UNDER_WAY, in_stages
from pneumoseg.preprocess import Placement
from pneumoseg.study import Detection, Source

PLACEMENT = Placement.letterbox(1, 1)


class FakeStages:
    """A film's grid is its number; numbers divisible by ``every`` pass the gate."""

    batches_at_once = 1

    def __init__(self, every: int, delay: float = 0.0) -> None:
        self.every, self.delay = every, delay
        self.detected: list[list[int]] = []
        self.segmented: list[list[int]] = []
        self.threads: dict[str, set[str]] = {"detect": set(), "segment": set(), "conclude": set()}

    def detect(self, grids):
        self._at("detect")
        self.detected.append([int(grid[0]) for grid in grids])
        return [Detection(float(grid[0]), float(grid[0] % self.every == 0), 0.5) for grid in grids]

    def passes(self, detection):
        return detection.positive

    def segment(self, grids):
        self._at("segment")
        self.segmented.append([int(grid[0]) for grid in grids])
        return np.stack([np.full((1, 1), grid[0], np.float32) for grid in grids])

    def conclude(self, film, detection, probabilities, *, seconds=0.0):
        self._at("conclude")
        value = None if probabilities is None else int(probabilities[0, 0])
        return SimpleNamespace(number=int(film.grid[0]), map=value, logit=detection.logit)

    def _at(self, step: str) -> None:
        self.threads[step].add(threading.current_thread().name)
        time.sleep(self.delay * np.random.default_rng().random())


def films(numbers, failing=()):
    for number in numbers:
        entry = Entry.of(Path(f"film{number}"))
        if number in failing:
            yield entry, Failure("unreadable", "no")
        else:
            grid = np.array([number], dtype=np.int64)
            yield entry, Prepared(Film(Source(str(number)), (1, 1), None, grid, PLACEMENT), None)


def finish(entry, prepared, finding):
    assert Path(entry.path).name == f"film{finding.number}" == f"film{prepared.film.grid[0]}"
    return {"number": finding.number, "map": finding.map, "logit": finding.logit}


def run(stages, arriving, batch_size=4):
    return list(in_stages(stages, arriving, batch_size=batch_size, finish=finish))


@pytest.mark.parametrize("every", [1, 2, 7, 1000])
@pytest.mark.parametrize("count", [0, 1, 4, 101])
def test_every_film_has_its_own_answers_in_order(every: int, count: int) -> None:
    """Breaks if a map or a detection slips to another film, or an input is lost at the end."""
    failing = {3, 4, 50}
    stages = FakeStages(every, delay=0.001)
    results = run(stages, films(range(count), failing))
    assert [Path(entry.path).name for entry, _ in results] == [f"film{n}" for n in range(count)]
    for number, (_, result) in enumerate(results):
        if number in failing:
            assert isinstance(result, Failure)
        else:
            expected = number if number % every == 0 else None
            assert result == {"number": number, "map": expected, "logit": float(number)}


def test_stage_two_waits_for_a_full_batch() -> None:
    """Every fourth film is suspected: batches of stage two are full, not one film each."""
    stages = FakeStages(4)
    run(stages, films(range(64)))
    assert stages.detected == [list(range(i, i + 4)) for i in range(0, 64, 4)]
    assert stages.segmented == [list(range(i, i + 16, 4)) for i in range(0, 64, 16)]


@pytest.mark.parametrize("every", [3, 25])
@pytest.mark.parametrize("at_once", [1, 2])
def test_batches_do_not_depend_on_which_thread_was_quicker(every: int, at_once: int) -> None:
    """With every 25th suspected, stage two takes what there is when others waited too long."""
    seen, results = [], []
    for _ in range(5):
        stages = FakeStages(every, delay=0.003)
        stages.batches_at_once = at_once
        results.append(run(stages, films(range(190), failing={7, 8, 9})))
        seen.append((sorted(stages.detected), sorted(stages.segmented)))
    assert all(one == seen[0] for one in seen)
    assert all(one == results[0] for one in results)
    assert [int(Path(entry.path).name[4:]) for entry, _ in results[0]] == list(range(190))


def test_as_many_batches_are_computed_at_once_as_the_predictor_says() -> None:
    """Each batch waits for another at the networks: one after the other would never end."""
    others = threading.Barrier(2, timeout=30)

    class Meeting(FakeStages):
        batches_at_once = 2

        def detect(self, grids):
            others.wait()
            return super().detect(grids)

    assert len(run(Meeting(1000), films(range(16)))) == 16


def test_a_lone_suspected_film_does_not_hold_up_all_others() -> None:
    """Breaks if results pile up behind a film that waits for company in stage two."""
    stages, arrived, most = FakeStages(1000), 0, 0

    def counted():
        nonlocal arrived
        for item in films(range(500)):
            arrived += 1
            yield item

    for done, _ in enumerate(in_stages(stages, counted(), batch_size=4, finish=finish), 1):
        most = max(most, arrived - done)
    assert stages.segmented == [[0]]
    assert most <= 4 * (UNDER_WAY + 3)


def test_thousands_of_unreadable_files_are_handed_over_as_they_come() -> None:
    """Breaks if failures alone are gathered without end before the first is seen."""
    taken = 0

    def failures():
        nonlocal taken
        for number in range(5000):
            taken += 1
            yield Entry.of(Path(f"film{number}")), Failure("unreadable", "no")

    results = in_stages(FakeStages(1), failures(), batch_size=4, finish=finish)
    next(results)
    assert taken <= 4 * UNDER_WAY + 4
    assert sum(1 for _ in results) == 4999


def test_networks_and_outlines_have_threads_of_their_own() -> None:
    stages = FakeStages(2)
    run(stages, films(range(20)))
    assert stages.threads["detect"] == stages.threads["segment"]
    names = {name for threads in stages.threads.values() for name in threads}
    assert threading.current_thread().name not in names
    assert len(names) == 2


def test_reading_and_outlining_happen_beside_the_networks() -> None:
    """Each step waits until the next batch's is under way: one after another would never end."""
    second_read, second_detected = threading.Event(), threading.Event()

    class Meeting(FakeStages):
        def detect(self, grids):
            if self.detected:
                second_detected.set()
            else:
                assert second_read.wait(30)
            return super().detect(grids)

        def conclude(self, film, *more, **named):
            if film.grid[0] == 0:
                assert second_detected.wait(30)
            return super().conclude(film, *more, **named)

    def arriving():
        for number, item in enumerate(films(range(16))):
            if number == 5:
                second_read.set()
            yield item

    assert len(run(Meeting(1000), arriving())) == 16


def test_threads_end_when_the_caller_stops() -> None:
    before = threading.active_count()
    results = in_stages(FakeStages(2), films(range(100)), batch_size=4, finish=finish)
    next(results)
    results.close()
    assert threading.active_count() == before
