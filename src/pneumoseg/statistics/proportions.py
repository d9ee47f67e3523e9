"""Intervals of a share, ``found`` of ``n`` independent units (patients where they are known).

The exact one never covers less than it says (Clopper and Pearson 1934); that of Jeffreys' prior
covers it on average and goes with draws of its posterior (Brown, Cai and DasGupta 2001); the score
interval needs no quantile (Wilson 1927).
"""

from __future__ import annotations

import math

from pneumoseg.statistics.resampling import CONFIDENCE, TAILS

JEFFREYS = 0.5
"""Both parameters of Jeffreys' prior, a beta distribution."""
_Z = 1.959963984540054
"""Upper 2.5 % point of the normal distribution."""


def clopper_pearson_lower(found: int, n: int, confidence: float = CONFIDENCE) -> float:
    """One-sided exact lower bound of a share.

    Raises:
        ValueError: not 0 to n of 1 or more.
    """
    from scipy import stats  # here: inference does without, and it takes half a second

    if not 0 <= found <= n or n < 1:
        raise ValueError(f"expected 0 to n found of n >= 1, got {found} of {n}")
    return float(stats.beta.ppf(1.0 - confidence, found, n - found + 1)) if found else 0.0


def clopper_pearson(found: int, n: int) -> tuple[float, float]:
    """Exact 95 % interval of a share."""
    one_sided = TAILS[1]
    return (
        clopper_pearson_lower(found, n, one_sided),
        1.0 - clopper_pearson_lower(n - found, n, one_sided),
    )


def jeffreys(found: float, n: int) -> tuple[float, float]:
    """95 % interval of the posterior under Jeffreys' prior; one-sided for nothing, or everything.

    Args:
        found: of the ``n``; need not be whole, where a share is known better than its count.
        n: number of units.
    """
    from scipy import stats

    low, high = stats.beta.ppf(TAILS, found + JEFFREYS, n - found + JEFFREYS).tolist()
    return (0.0 if found == 0 else low, 1.0 if found == n else high)


def wilson(found: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share, n of 1 or more."""
    share = found / n
    spread = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    middle, scale = share + _Z**2 / (2 * n), 1 + _Z**2 / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
