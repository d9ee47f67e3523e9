"""When the cascade pays: the arithmetic, from what the stages cost and how many films pass.

Stage one costs c on every film, stage two s on those that pass; a share p of the films passes. The
cascade costs ``c + p s``, a segmenter alone that sees every film costs ``s``. The two are equal at
``p* = 1 - c / s``: above it stage one is work without return. Where ``c >= s`` the cascade is
slower whatever passes.

Which share passes follows from recall, specificity and prevalence:
``p = prevalence * recall + (1 - prevalence) * (1 - specificity)``. As for the predictive values
(:mod:`pneumoseg.statistics.prevalence`), this holds where only the prevalence differs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pneumoseg.installation.bench.timing import Timing
from pneumoseg.metrics import CONFIDENCE
from pneumoseg.statistics.prevalence import Rate


@dataclass(frozen=True)
class BreakEven:
    """Pass rates, in [0, 1], above which always-segment is faster; None: at every pass rate.

    Attributes:
        pass_rate: from the medians of both networks.
        worst: from stage one's upper and stage two's lower quartile.
        best: from stage one's lower and stage two's upper quartile.
        with_outlining: from the medians, a film's outline and run lengths counted with stage two.
    """

    pass_rate: float | None
    worst: float | None
    best: float | None
    with_outlining: float | None


@dataclass(frozen=True)
class Saving:
    """What the cascade costs at one prevalence, both networks alone.

    Attributes:
        prevalence: share of films with pneumothorax.
        pass_rate: share of films that stage two sees.
        pass_rate_low: lower end of its 95 % interval, from those of recall and specificity.
        pass_rate_high: upper end.
        cascade_ms: a film, by the cascade.
        always_ms: a film, by stage two alone.
        saved: share of ``always_ms`` that the cascade saves; negative where it is slower.
    """

    prevalence: float
    pass_rate: float
    pass_rate_low: float
    pass_rate_high: float
    cascade_ms: float
    always_ms: float
    saved: float


def break_even_rate(classifier_ms: float, segmenter_ms: float) -> float | None:
    """The pass rate at which cascade and always-segment cost the same.

    Args:
        classifier_ms: stage one, a film; more than 0.
        segmenter_ms: stage two, a film; more than 0.

    Returns:
        ``1 - c / s`` in (0, 1), or None where stage one costs as much as stage two or more: the
        cascade is then never faster.

    Raises:
        ValueError: a cost is not a positive number.
    """
    for cost in (classifier_ms, segmenter_ms):
        if not (np.isfinite(cost) and cost > 0):
            raise ValueError(f"a stage costs more than 0 ms, got {cost}")
    return None if classifier_ms >= segmenter_ms else 1.0 - classifier_ms / segmenter_ms


def break_even(classifier: Timing, segmenter: Timing, postprocessing: Timing) -> BreakEven:
    """Break-even from what was measured, and how far the spread of the repeats moves it."""
    return BreakEven(
        pass_rate=break_even_rate(classifier.median_ms, segmenter.median_ms),
        worst=break_even_rate(classifier.upper_quartile_ms, segmenter.lower_quartile_ms),
        best=break_even_rate(classifier.lower_quartile_ms, segmenter.upper_quartile_ms),
        with_outlining=break_even_rate(
            classifier.median_ms, segmenter.median_ms + postprocessing.median_ms
        ),
    )


def pass_rate(recall: float, specificity: float, prevalence: float) -> float:
    """Share of all films that stage one passes on; all four in [0, 1]."""
    return prevalence * recall + (1.0 - prevalence) * (1.0 - specificity)


def savings(
    classifier_ms: float,
    segmenter_ms: float,
    recall: Rate,
    specificity: Rate,
    prevalences: Iterable[float],
) -> tuple[Saving, ...]:
    """What the cascade saves at each prevalence.

    The interval of the pass rate is drawn as that of the predictive values, recall and specificity
    independently, from a fixed seed. That of a single cost would be the spread of the timings.
    """
    rng = np.random.default_rng(0)
    recalls, specificities = recall.draws(rng), specificity.draws(rng)
    tails = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    rows = []
    for prevalence in prevalences:
        rate = pass_rate(recall.value, specificity.value, prevalence)
        drawn = prevalence * recalls + (1.0 - prevalence) * (1.0 - specificities)
        low, high = (float(end) for end in np.quantile(drawn, tails))
        cost = classifier_ms + rate * segmenter_ms
        rows.append(
            Saving(
                prevalence=prevalence,
                pass_rate=rate,
                # a rate of exactly 0 or 1 is the edge of its own posterior
                pass_rate_low=min(low, rate),
                pass_rate_high=max(high, rate),
                cascade_ms=cost,
                always_ms=segmenter_ms,
                saved=1.0 - cost / segmenter_ms,
            )
        )
    return tuple(rows)
