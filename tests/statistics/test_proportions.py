"""Intervals of a share, against scipy and the tables of the papers."""

import pytest
from scipy import stats

from pneumoseg.statistics.proportions import clopper_pearson, jeffreys, wilson


@pytest.mark.parametrize(("found", "n"), [(0, 10), (3, 10), (10, 10), (311, 400)])
def test_exact_and_score_intervals_are_scipys(found: int, n: int) -> None:
    test = stats.binomtest(found, n)
    exact, score = (test.proportion_ci(0.95, method=m) for m in ("exact", "wilson"))
    assert clopper_pearson(found, n) == pytest.approx((exact.low, exact.high), abs=1e-12)
    assert wilson(found, n) == pytest.approx((score.low, score.high), abs=1e-12)


def test_jeffreys_by_the_paper() -> None:
    """Brown, Cai and DasGupta 2001, table 5: 5 of 10 gives 0.224 to 0.776."""
    assert jeffreys(5, 10) == pytest.approx((0.224, 0.776), abs=1e-3)
    assert jeffreys(0, 10)[0] == 0.0
    assert jeffreys(10, 10)[1] == 1.0
