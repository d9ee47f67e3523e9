"""`pneumoseg bench`: break-even by hand, the whole command, and its JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pneumoseg.bundle import CardFigure
from pneumoseg.commands.installation import bench as bench_command
from pneumoseg.errors import BundleError, DataError, UsageError
from pneumoseg.installation.bench.break_even import break_even, break_even_rate, pass_rate, savings
from pneumoseg.installation.bench.machine import Machine, this_machine
from pneumoseg.installation.bench.picture import draw_bench
from pneumoseg.installation.bench.result import (
    OUTLINING,
    READING,
    STAGE_ONE,
    STAGE_TWO,
    STEPS,
    Bench,
    FilmsUsed,
    Measured,
    from_document,
    read_bench,
)
from pneumoseg.installation.bench.run import BENCH_FILE, run_bench
from pneumoseg.installation.bench.settings import BenchSettings
from pneumoseg.installation.bench.timing import FEWEST_REPEATS, Timing, time_in_turn
from pneumoseg.statistics.prevalence import Rate
from tiny_bundle import write_tiny_bundle, write_tiny_ct_bundle

RECALL, SPECIFICITY = (
    CardFigure(name=name, value=value, n=n, n_positive=0, split="test", origin="made up")
    for name, value, n in (("recall", 0.9, 100), ("specificity", 0.8, 400))
)


def timing(step: str, median: float, low: float | None = None, high: float | None = None) -> Timing:
    low, high = (median if end is None else end for end in (low, high))
    return Timing(step, median, low, high, repeats=5, films_per_repeat=8)


def made_up(
    classifier: float = 25.0, segmenter: float = 100.0, *, with_rates: bool = True
) -> Bench:
    one = timing(STAGE_ONE, classifier, 0.8 * classifier, 1.2 * classifier)
    two = timing(STAGE_TWO, segmenter, 0.9 * segmenter, 1.1 * segmenter)
    outlining = timing(OUTLINING, 25.0)
    recall, specificity = Rate(0.9, 100), Rate(0.8, 400)
    return Bench(
        Measured("tiny", "1.2", "0.1.0", "openvino", "cpu", "f32", None, 2, 8, 512, 512),
        Machine("a processor", 2, "Linux x86_64", 0.1, {"python": "3.11"}),
        FilmsUsed("phantoms", 16, 7),
        (timing(READING, 12.5), one, two, outlining),
        break_even(one, two, outlining),
        (RECALL, SPECIFICITY) if with_rates else (),
        savings(classifier, segmenter, recall, specificity, (0.01, 0.05, 0.2))
        if with_rates
        else (),
    )


@pytest.mark.parametrize(
    ("classifier", "segmenter", "expected"),
    [
        (318.0, 377.0, 59 / 377),  # eager: 59 ms of 377 are left for stage two
        (37.0, 70.0, 33 / 70),
        (1.0, 4.0, 0.75),
        (70.0, 70.0, None),  # equal: always-segment is never slower
        (377.0, 318.0, None),
    ],
)
def test_break_even_is_one_minus_the_ratio(
    classifier: float, segmenter: float, expected: float | None
) -> None:
    assert break_even_rate(classifier, segmenter) == (
        None if expected is None else pytest.approx(expected)
    )


def test_at_break_even_both_ways_cost_the_same() -> None:
    rate = break_even_rate(37.0, 70.0)
    assert rate is not None
    assert 37.0 + rate * 70.0 == pytest.approx(70.0)


@pytest.mark.parametrize("costs", [(0.0, 1.0), (1.0, 0.0), (1.0, float("nan"))])
def test_a_stage_that_costs_nothing_was_not_measured(costs: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="more than 0 ms"):
        break_even_rate(*costs)


def test_the_spread_of_the_timings_moves_break_even() -> None:
    found = break_even(timing("", 25, 20, 30), timing("", 100, 75, 125), timing("", 25))
    assert found.pass_rate == pytest.approx(0.75)
    assert found.worst == pytest.approx(1 - 30 / 75)  # 0.6
    assert found.best == pytest.approx(1 - 20 / 125)  # 0.84
    assert found.with_outlining == pytest.approx(1 - 25 / 125)  # 0.8
    assert break_even(timing("", 80, 70, 90), timing("", 85, 80, 88), timing("", 1)).worst is None


def test_pass_rate_by_hand() -> None:
    """1,000 films, 50 ill: 45 of those and a fifth of the 950 healthy are suspected."""
    assert pass_rate(0.9, 0.8, 0.05) == pytest.approx((45 + 190) / 1000)


def test_savings_by_hand() -> None:
    row, often = savings(37.0, 70.0, Rate(0.9, 100), Rate(0.8, 400), (0.05, 0.9))
    assert row.pass_rate == pytest.approx(0.235)
    assert row.pass_rate_low < 0.235 < row.pass_rate_high
    assert row.cascade_ms == pytest.approx(37.0 + 0.235 * 70.0)  # 53.45
    assert row.saved == pytest.approx(1 - 53.45 / 70.0)
    assert often.saved == pytest.approx(1 - (37.0 + 0.83 * 70.0) / 70.0) and often.saved < 0


def test_the_interval_of_the_pass_rate_is_that_of_the_specificity_where_none_is_ill() -> None:
    """Near prevalence 0 the pass rate is 1 - specificity, whose interval is known exactly."""
    specificity = Rate(0.8, 400)
    (row,) = savings(1.0, 2.0, Rate(0.9, 100), specificity, (1e-9,))
    low, high = specificity.interval
    assert row.pass_rate_low == pytest.approx(1 - high, abs=0.002)
    assert row.pass_rate_high == pytest.approx(1 - low, abs=0.002)


def test_a_perfect_rate_stays_within_its_interval() -> None:
    (row,) = savings(1.0, 2.0, Rate(1.0, 10), Rate(1.0, 10), (0.2,))
    assert row.pass_rate == pytest.approx(0.2)
    assert row.pass_rate_low <= row.pass_rate <= row.pass_rate_high


def test_steps_are_timed_in_turn_until_the_time_is_used_up() -> None:
    now, order = [0.0], []

    def takes(name: str, seconds: float):  # noqa: ANN202
        def work(number: int) -> None:
            order.append((name, number))
            now[0] += seconds

        return work

    told: list[float] = []
    taken = time_in_turn(
        {"a": takes("a", 1.0), "b": takes("b", 3.0)},
        seconds=15.0,
        on_progress=told.append,
        clock=lambda: now[0],
    )
    # rounds of 4 s begin at 0, 4, 8 and 12, none at 16
    assert order == [(name, number) for number in range(4) for name in "ab"]
    assert taken == {"a": [1.0] * 4, "b": [3.0] * 4}
    assert told == [4.0, 8.0, 12.0, 16.0]


def test_however_long_it_takes_there_is_a_spread() -> None:
    now = [0.0]

    def work(number: int) -> None:
        now[0] += 60.0

    taken = time_in_turn({"slow": work}, seconds=1.0, clock=lambda: now[0])
    assert len(taken["slow"]) == FEWEST_REPEATS


def test_a_timing_is_in_ms_a_film() -> None:
    found = Timing.of("step", [0.8, 1.6, 2.4, 3.2, 4.0], films_per_repeat=8)
    assert found == Timing("step", 300.0, 200.0, 400.0, 5, 8)


def test_the_document_reads_back_to_the_same_object(tmp_path: Path) -> None:
    for found in (made_up(), made_up(200.0, 100.0), made_up(with_rates=False)):
        path = tmp_path / "bench.json"
        path.write_text(json.dumps(found.as_document()), "utf-8")
        assert read_bench(path) == found
        assert from_document(found.as_document()).as_document() == found.as_document()


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"measured": {"colour": "red"}}'])
def test_what_is_no_bench_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(content, "utf-8")
    with pytest.raises(DataError):
        read_bench(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_bench(tmp_path / "none.json")


def test_the_conclusion_says_what_was_found() -> None:
    """With c = 25, s = 100 and the rates above: p = 0.207, 0.235, 0.34; 1 - (0.25 + p)."""
    assert made_up().conclusion == (
        "The cascade is faster here while fewer than 75% of the films are suspected (stage one "
        "25.0 ms a film, stage two 100.0 ms); by the card's recall and specificity it takes 54% "
        "less time at a prevalence of 1 %, 52% less time at a prevalence of 5 % and 41% less time "
        "at a prevalence of 20 % than segmenting every film."
    )
    assert "87% of" not in made_up(90.0, 100.0).conclusion
    assert "11% more time at a prevalence of 1 %" in made_up(90.0, 100.0).conclusion
    assert made_up(100.0, 90.0).conclusion.startswith("The cascade never pays here")
    assert "the card has no such figures" in made_up(with_rates=False).conclusion


@pytest.mark.parametrize("found", [made_up(), made_up(200.0), made_up(with_rates=False)])
def test_the_picture_is_made_from_the_document_alone(found: Bench, tmp_path: Path) -> None:
    document = json.loads(json.dumps(found.as_document()))
    draw_bench(document, tmp_path / "first.png")
    draw_bench(document, tmp_path / "again.png")
    first = (tmp_path / "first.png").read_bytes()
    assert first == (tmp_path / "again.png").read_bytes()
    drawn = cv2.imread(str(tmp_path / "first.png"))
    assert drawn is not None and drawn.std() > 5


def test_the_machine_is_named() -> None:
    machine = this_machine("pytest", "no-such-distribution")
    assert machine.processor and machine.cores >= 1
    assert machine.versions["pytest"] == pytest.__version__
    assert machine.versions["numpy"] == np.__version__
    assert "no-such-distribution" not in machine.versions


def settings_for(folder: Path, out: Path, **changes: object) -> BenchSettings:
    quick = {"films": 3, "size": 128, "seconds": 0.5, "batch_size": 2}
    return BenchSettings(bundle=str(folder), out=out, **{**quick, **changes})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "tiny"
    return write_tiny_bundle(folder, figures=(RECALL, SPECIFICITY)).folder


def test_a_whole_run(bundle: Path, tmp_path: Path) -> None:
    made: list[tuple[int, int]] = []
    progress: list[tuple[float, int]] = []
    found = run_bench(
        settings_for(bundle, tmp_path / "out", seconds=1.0, prevalences=(0.05,)),
        on_phantom=lambda *step: made.append(step),
        on_progress=lambda *step: progress.append(step),
    )
    assert made == [(1, 3), (2, 3), (3, 3)]
    assert progress[-1] == (1, 1)
    assert [row.step for row in found.timings] == list(STEPS)
    for row in found.timings:
        assert 0 < row.lower_quartile_ms <= row.median_ms <= row.upper_quartile_ms
        assert row.repeats >= FEWEST_REPEATS and row.films_per_repeat == 2
    assert (found.films.n, found.measured.bundle, found.measured.batch_size) == (3, "tiny", 2)
    one, two = found.timing(STAGE_ONE).median_ms, found.timing(STAGE_TWO).median_ms
    assert found.break_even.pass_rate == (None if one >= two else pytest.approx(1 - one / two))
    assert found.rates == (RECALL, SPECIFICITY)
    assert found.savings[0].cascade_ms == pytest.approx(one + 0.235 * two)
    assert read_bench(tmp_path / "out" / BENCH_FILE) == found
    assert (tmp_path / "out" / "bench.png").stat().st_size > 10_000
    assert {p.name for p in (tmp_path / "out").iterdir()} == {BENCH_FILE, "bench.png"}


def films(folder: Path, count: int) -> Path:
    """Dark films with a bright square; by tiny_bundle all of them are suspected."""
    folder.mkdir()
    pixels = np.zeros((96, 96), np.uint8)
    pixels[16:48, 16:48] = 255
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    return folder


def test_given_films_are_measured_on(bundle: Path, tmp_path: Path) -> None:
    images = films(tmp_path / "films", 5)
    found = run_bench(settings_for(bundle, tmp_path / "out", images=images, films=4))
    assert (found.films.n, found.films.suspected) == (4, 4)
    assert str(tmp_path) not in json.dumps(found.as_document())  # a path may name a patient


def test_a_card_without_figures_says_so(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny", figures=(RECALL,)).folder
    found = run_bench(settings_for(folder, tmp_path / "out"))
    assert found.rates == () and found.savings == ()


def test_bad_input_leaves_nothing_behind(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    images = films(tmp_path / "films", 2)
    (images / "1.png").write_bytes(b"no film")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    ct = write_tiny_ct_bundle(tmp_path / "ct").folder
    for changes, error, said in (
        ({"images": images}, UsageError, "1.png cannot be measured on"),
        ({"images": tmp_path / "empty"}, UsageError, "no file was found"),
        ({"images": tmp_path / "none"}, UsageError, "does not exist"),
        ({"bundle": str(ct)}, BundleError, "cannot be used on xray"),
        ({"bundle": "huge"}, BundleError, "neither a shipped bundle"),
        ({"out": tmp_path / "file"}, UsageError, "is a file"),
        ({"precision": "f3"}, UsageError, "precision"),
    ):
        settings = dataclasses.replace(settings_for(bundle, out), **changes)
        with pytest.raises(error, match=said):
            run_bench(settings)
        assert not out.exists(), changes


@pytest.mark.parametrize(
    "wrong",
    [
        {"films": 0},
        {"batch_size": 0},
        {"threads": 0},
        {"size": 63},
        {"seconds": 0.0},
        {"seconds": float("inf")},
        {"prevalences": (0.0,)},
        {"prevalences": (0.5, 1.0)},
    ],
)
def test_settings_out_of_their_range_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match="must"):
        BenchSettings(**wrong)


def test_the_terminal_shows_both_tables_and_the_sentence(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert bench_command(settings_for(bundle, out, prevalences=(0.05,))) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        *STEPS,
        "break-even",
        "23.5%",
        "recall 0.900 of the card: made up, test, n = 100",
    ):
        assert words in shown, words
    assert read_bench(out / BENCH_FILE).conclusion in shown
