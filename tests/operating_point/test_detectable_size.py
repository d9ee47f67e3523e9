"""The limit of detection against a known curve, and the lesions that filters remove."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from pneumoseg.operating_point.detectable_size import (
    removed_by_size,
    removed_by_triplet_rule,
    seen_sizes,
)


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Seen with the chance expit(log2(area) - 10): half at 1024, 95 % at 1024 * 2**2.944."""
    rng = np.random.default_rng(seed)
    area = 2.0 ** rng.uniform(6, 15, n)
    return area, rng.random(n) < expit(np.log2(area) - 10.0)


def sizes(area: np.ndarray, seen: np.ndarray, repeats: int = 200):
    names = np.array([f"p{k}" for k in range(len(area))])
    return seen_sizes(area, seen, names, "grid pixels", np.random.default_rng(0), repeats)


def test_a_known_curve_is_found() -> None:
    found = sizes(*drawn(4000))
    half, most = found.limits
    assert half.area == pytest.approx(1024, rel=0.15)
    assert most.area == pytest.approx(1024 * 2**2.944, rel=0.2)
    assert half.low < 1024 < half.high
    assert (half.n, half.n_patients, half.reason) == (4000, 4000, "")


def test_the_curve_is_scikit_learn_s() -> None:
    area, seen = drawn(150, seed=3)
    found = sizes(area, seen)
    peer = LogisticRegression(C=1e4, tol=1e-10, max_iter=1000).fit(np.log2(area)[:, None], seen)
    assert found.slope == pytest.approx(peer.coef_[0, 0], rel=1e-3)
    assert found.intercept == pytest.approx(peer.intercept_[0], rel=1e-3)


def test_extremes_by_hand() -> None:
    area = np.array([10.0, 20, 30, 40, 50, 60, 70, 80, 90, 100])
    seen = np.array([False, True, False, True, True, False, True, True, True, True])
    found = sizes(area, seen)
    assert (found.smallest_seen, found.largest_missed) == (20.0, 60.0)


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (np.ones(20, bool), "all of the 20"),
        (np.zeros(20, bool), "none of the 20"),
        (np.arange(20) < 10, "larger ones are seen no more often"),
        (np.arange(20) % 10 > 0, "already the smallest"),
    ],
)
def test_nothing_is_read_beyond_the_sizes_that_were_there(seen: np.ndarray, message: str) -> None:
    area = 2.0 ** np.linspace(8, 12, 20)
    limit = sizes(area, seen).limits[0]
    assert limit.area is None
    assert message in limit.reason


def test_few_films_give_no_curve() -> None:
    found = sizes(np.arange(1.0, 6.0), np.array([0, 0, 1, 1, 1], bool))
    assert found.slope is None
    assert "too few" in found.limits[0].reason
    assert found.smallest_seen == 3.0


def test_parted_sizes_stay_finite() -> None:
    """All large ones seen, no small one: the maximum likelihood slope is infinite."""
    area = 2.0 ** np.linspace(6, 14, 30)
    limit = sizes(area, area > 1000).limits[0]
    assert 700 < limit.area < 1400


def test_filters_remove_by_hand() -> None:
    lesions = [(500, 30), (90,), (200, 199)]
    removed = removed_by_size(lesions, 200)
    assert (removed.lesions, removed.of_lesions, removed.films, removed.of_films) == (3, 5, 1, 3)
    rule = removed_by_triplet_rule(lesions, 399)
    assert (rule.lesions, rule.films) == (1, 1)
    assert removed_by_triplet_rule(lesions, 400).films == 2
    assert removed_by_size(lesions, 0).lesions == 0
