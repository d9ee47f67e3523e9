"""Bounds of a recall, from formulas that can be done with a pocket calculator."""

from __future__ import annotations

import pytest

from pneumoseg.statistics.proportions import clopper_pearson_lower
from pneumoseg.statistics.recall_bounds import (
    allowed_misses,
    chance_of_at_most,
    fewest_positives,
)


def test_without_a_miss_the_bound_is_the_nth_root() -> None:
    """0.05 ^ (1 / n): of 59 patients found 95.05 %, of 58 only 94.97 %."""
    assert clopper_pearson_lower(59, 59, 0.95) == pytest.approx(0.05 ** (1 / 59))
    assert clopper_pearson_lower(58, 58, 0.95) < 0.95 < clopper_pearson_lower(59, 59, 0.95)
    assert clopper_pearson_lower(0, 10, 0.95) == 0.0


def test_the_bound_rises_with_every_patient_found() -> None:
    bounds = [clopper_pearson_lower(found, 20, 0.95) for found in range(21)]
    assert bounds == sorted(bounds) and len(set(bounds)) == 21
    assert all(bound < found / 20 for found, bound in enumerate(bounds) if found)


@pytest.mark.parametrize(("found", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(found: int, n: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to n found"):
        clopper_pearson_lower(found, n)


def test_the_chance_of_no_miss_and_of_one_by_hand() -> None:
    """0.9^10, and 10 · 0.1 · 0.9^9 more."""
    assert chance_of_at_most(0, 10, 0.9) == pytest.approx(0.9**10)
    assert chance_of_at_most(1, 10, 0.9) == pytest.approx(0.9**10 + 0.9**9)


def test_how_many_may_be_missed_and_how_many_it_takes_agree() -> None:
    """59 patients certify 95 % without a miss, 93 with one; one fewer does not."""
    assert fewest_positives(0, 0.95, 0.95) == 59
    assert fewest_positives(1, 0.95, 0.95) == 93
    assert allowed_misses(58, 0.95, 0.95) is None and allowed_misses(59, 0.95, 0.95) == 0
    assert allowed_misses(92, 0.95, 0.95) == 0 and allowed_misses(93, 0.95, 0.95) == 1
    assert allowed_misses(0, 0.95, 0.95) is None
    for misses in range(6):
        needed = fewest_positives(misses, 0.9, 0.95)
        assert allowed_misses(needed, 0.9, 0.95) == misses
        assert clopper_pearson_lower(needed - misses, needed, 0.95) >= 0.9
