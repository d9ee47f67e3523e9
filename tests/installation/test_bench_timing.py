"""Steps are timed in turn, with their spread."""

from __future__ import annotations

from pneumoseg.installation.bench.timing import FEWEST_REPEATS, Timing, time_in_turn


def test_steps_are_timed_in_turn_until_the_time_is_used_up() -> None:
    now, order = [0.0], []

    def takes(name: str, seconds: float):  # noqa: ANN202
        def work(number: int) -> None:
            order.append((name, number))
            now[0] += seconds

        return work

    reported: list[float] = []
    taken = time_in_turn(
        {"a": takes("a", 1.0), "b": takes("b", 3.0)},
        seconds=15.0,
        on_progress=reported.append,
        clock=lambda: now[0],
    )
    # rounds of 4 s begin at 0, 4, 8 and 12, none at 16
    assert order == [(name, number) for number in range(4) for name in "ab"]
    assert taken == {"a": [1.0] * 4, "b": [3.0] * 4}
    assert reported == [4.0, 8.0, 12.0, 16.0]


def test_however_long_it_takes_there_is_a_spread() -> None:
    now = [0.0]

    def work(number: int) -> None:
        now[0] += 60.0

    taken = time_in_turn({"slow": work}, seconds=1.0, clock=lambda: now[0])
    assert len(taken["slow"]) == FEWEST_REPEATS


def test_a_timing_is_in_ms_a_film() -> None:
    found = Timing.of("step", [0.8, 1.6, 2.4, 3.2, 4.0], films_per_repeat=8)
    assert found == Timing("step", 300.0, 200.0, 400.0, 5, 8)
