"""When the cascade pays, by hand."""

from __future__ import annotations

import pytest
from made_up_bench import timing

from pneumoseg.installation.bench.break_even import break_even, break_even_rate, pass_rate, savings
from pneumoseg.statistics.prevalence import Rate


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
    """1,000 films, 50 positive: 45 of those and a fifth of the 950 healthy are suspected."""
    assert pass_rate(0.9, 0.8, 0.05) == pytest.approx((45 + 190) / 1000)


def test_savings_by_hand() -> None:
    row, often = savings(37.0, 70.0, Rate(0.9, 100), Rate(0.8, 400), (0.05, 0.9))
    assert row.pass_rate == pytest.approx(0.235)
    assert row.pass_rate_low < 0.235 < row.pass_rate_high
    assert row.cascade_ms == pytest.approx(37.0 + 0.235 * 70.0)  # 53.45
    assert row.saved == pytest.approx(1 - 53.45 / 70.0)
    assert often.saved == pytest.approx(1 - (37.0 + 0.83 * 70.0) / 70.0) and often.saved < 0


def test_the_interval_of_the_pass_rate_is_that_of_the_specificity_where_none_is_positive() -> None:
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
