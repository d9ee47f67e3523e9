"""How many misses a certified recall allows, whatever the scores: binomial tails.

The bound itself is :func:`pneumoseg.statistics.proportions.clopper_pearson_lower`.
"""

from __future__ import annotations

from scipy import stats

from pneumoseg.settings import TARGET_RECALL
from pneumoseg.statistics.resampling import CONFIDENCE


def allowed_misses(
    n: int, target: float = TARGET_RECALL, confidence: float = CONFIDENCE
) -> int | None:
    """Most misses among ``n`` patients with which the target is still certified.

    Returns:
        The largest k with P(Binomial(n, 1 - target) <= k) <= 1 - confidence; None where even no
        miss at all does not suffice.
    """
    below = int(stats.binom.ppf(1.0 - confidence, n, 1.0 - target)) if n else 0
    for k in (below, below - 1):  # ppf gives the first k that reaches the level, or exceeds it
        if k >= 0 and chance_of_at_most(k, n, target) <= 1.0 - confidence:
            return k
    return None


def fewest_positives(
    misses: int, target: float = TARGET_RECALL, confidence: float = CONFIDENCE
) -> int:
    """Fewest patients with a pneumothorax that certify the target with so many of them missed."""
    low, high = misses, misses + 1  # low does not suffice
    while chance_of_at_most(misses, high, target) > 1.0 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = chance_of_at_most(misses, middle, target) <= 1.0 - confidence
        low, high = (low, middle) if enough else (middle, high)
    return high


def chance_of_at_most(misses: int, n: int, target: float) -> float:
    """Chance of so few misses when the true recall just falls short of the target."""
    return float(stats.binom.cdf(misses, n, 1.0 - target))
