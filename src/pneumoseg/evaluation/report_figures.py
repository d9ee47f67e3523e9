"""Which figures the report holds, and over which films each is taken; all share one draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoseg.evaluation.measured_films import Cases
from pneumoseg.evaluation.strata import Group, Stratum
from pneumoseg.metrics import SEED_BETA
from pneumoseg.statistics import weighted
from pneumoseg.statistics.estimate import Estimate, Estimator, Quantity
from pneumoseg.statistics.froc import FALSE_POSITIVE_RATES, Candidates
from pneumoseg.statistics.resampling import Resampler, WeightedStatistic

BOTH_CLASSES = "needs positive and negative images"
NO_POSITIVE, NO_NEGATIVE = "no positive image", "no negative image"
NO_SPACING = "spacing in mm not known"
NO_SECONDS = "no such image, or the run did not record its seconds"

Bools = NDArray[np.bool_]


def share(group: str, name: str, so: Bools, over: Bools, reason: str) -> Quantity:
    """The share of the images of ``over`` that are ``so``, both (n,)."""
    return Quantity(name, over, weighted.mean_over(so, over), reason, True, group)


def _quantity(
    group: str, name: str, over: Bools, statistic: WeightedStatistic, reason: str
) -> Quantity:
    return Quantity(name, over, statistic, reason, group=group)


def measure_figures(
    quantities: Sequence[Quantity], cases: Cases, draws: Resampler
) -> list[tuple[str, Estimate]]:
    """Estimate quantities: (group, estimate), in their order."""
    found = Estimator(cases.label, cases.patient, draws).estimates(quantities)
    return [(each.group, estimate) for each, estimate in zip(quantities, found, strict=True)]


def main_figures(cases: Cases) -> list[Quantity]:
    """The seven figures of every evaluation."""
    label, everything, group = cases.label, np.ones_like(cases.label), "main"
    predicted, mean = cases.positive, weighted.mean_over
    area, f2 = (
        weighted.auroc(cases.probability, label),
        weighted.f_beta(predicted, label, SEED_BETA),
    )
    dice = cases.dice
    return [
        _quantity(group, "AUROC", everything, area, BOTH_CLASSES),
        share(group, "recall", predicted, label, NO_POSITIVE),
        share(group, "specificity", ~predicted, ~label, NO_NEGATIVE),
        _quantity(group, "F2", everything, f2, NO_POSITIVE),
        _quantity(group, "lesion Dice", label, mean(dice, label), NO_POSITIVE),
        _quantity(group, "SIIM mean Dice", everything, mean(dice, everything), ""),
        share(group, "share reaching stage two", cases.segmented, everything, ""),
    ]


def report_figures(cases: Cases, default_threshold: float) -> list[Quantity]:
    """All figures over the whole data set, beside the seven."""
    return [
        *_ranking(cases),
        *_decisions(cases, "default", cases.probability >= default_threshold),
        *_decisions(cases, "calibrated", cases.positive),
        *_outlines(cases),
        *_lesions(cases),
        *_cost(cases),
    ]


def _ranking(cases: Cases) -> Iterator[Quantity]:
    """Stage one's probability, whatever the threshold."""
    label, everything = cases.label, np.ones_like(cases.label)
    squared = (cases.probability - label) ** 2
    rows = [
        ("AUROC", weighted.auroc(cases.probability, label), BOTH_CLASSES),
        ("average precision", weighted.average_precision(cases.probability, label), NO_POSITIVE),
        ("prevalence", weighted.mean_over(label, everything), ""),
        ("Brier score", weighted.mean_over(squared, everything), ""),
        ("expected calibration error",
         weighted.expected_calibration_error(cases.probability, label), ""),
    ]  # fmt: skip
    for name, statistic, reason in rows:
        yield _quantity("ranking and probability", name, everything, statistic, reason)


def _decisions(cases: Cases, which: str, predicted: Bools) -> Iterator[Quantity]:
    """What a threshold decides."""
    label, group = cases.label, f"decisions at the {which} threshold"
    yield share(group, "recall", predicted, label, NO_POSITIVE)
    yield share(group, "specificity", ~predicted, ~label, NO_NEGATIVE)
    yield share(group, "PPV", label, predicted, "no image was suspected")
    yield share(group, "NPV", ~label, ~predicted, "every image was suspected")
    everything = np.ones_like(label)
    yield _quantity(
        group, "F2", everything, weighted.f_beta(predicted, label, SEED_BETA), NO_POSITIVE
    )


def _outlines(cases: Cases) -> Iterator[Quantity]:
    """Masks: overlap, the challenge's score beside silence, distances, films with an outline."""
    label, everything, group = cases.label, np.ones_like(cases.label), "outlines"
    mean = weighted.mean_over
    siim, silent = mean(cases.dice, everything), mean(~label, everything)
    yield _quantity(group, "lesion Dice", label, mean(cases.dice, label), NO_POSITIVE)
    yield _quantity(group, "SIIM mean Dice", everything, siim, "")
    yield _quantity(group, "SIIM mean Dice of an all-empty submission", everything, silent, "")
    yield _quantity(
        group, "SIIM mean Dice minus all-empty", everything, weighted.difference(siim, silent), ""
    )
    marked = cases.has_predicted_mask
    yield share(group, "recall by outline", marked, label, NO_POSITIVE)
    yield share(group, "specificity by outline", ~marked, ~label, NO_NEGATIVE)
    both = ~np.isnan(cases.hd95_mm)
    for name, values in (
        ("HD95 in mm", cases.hd95_mm),
        ("average surface distance in mm", cases.surface_mm),
    ):
        yield _quantity(group, name, both, mean(np.nan_to_num(values), both), NO_SPACING)


def _lesions(cases: Cases) -> Iterator[Quantity]:
    """By lesion: sensitivity and false positives with all outlines, and the FROC curve's values."""
    everything = np.ones_like(cases.label)
    for rule, films in cases.lesions.items():
        found, group = Candidates(films), f"lesions, hit by {rule}"
        reason = "no true lesion"
        yield _quantity(
            group, "sensitivity", cases.label, weighted.ratio(found.hits, found.lesions), reason
        )
        yield _quantity(
            group,
            "false positives per image",
            everything,
            weighted.mean_over(found.alarms, everything),
            "",
        )
        for rate in FALSE_POSITIVE_RATES:
            name = f"sensitivity at {rate:g} false positives per image"
            yield _quantity(group, name, everything, found.sensitivity_at(rate), reason)


def _cost(cases: Cases) -> Iterator[Quantity]:
    """What passes the filter, and what that costs in recorded seconds."""
    label, everything, group = cases.label, np.ones_like(cases.label), "pass-through and cost"
    mean, passed = weighted.mean_over, cases.segmented
    yield share(group, "share reaching stage two", passed, everything, "")
    yield share(group, "share of negatives reaching it", passed, ~label, NO_NEGATIVE)
    timed = ~np.isnan(cases.seconds)
    seconds = np.nan_to_num(cases.seconds)
    one, two = timed & ~passed, timed & passed
    for name, over in (
        ("seconds per image", timed),
        ("seconds, stage one alone", one),
        ("seconds, both stages", two),
    ):
        yield _quantity(group, name, over, mean(seconds, over), NO_SECONDS)
    whole, both = mean(seconds, timed), mean(seconds, two)
    yield _quantity(
        group,
        "time saved against always segmenting",
        timed,
        lambda weights: 1.0 - weighted.divided(whole(weights), both(weights)),
        NO_SECONDS,
    )


def stratum_figures(cases: Cases, stratum: Stratum, group: Group) -> list[Quantity]:
    """The figures of one group of films.

    Groups of positive films only have their AUROC against all negatives, and no specificity.
    """
    inside, label = group.member, cases.label
    positive, negative = inside & label, inside & ~label
    ranked = inside | ~label if stratum.positives_only else inside
    area, name = weighted.auroc(cases.probability, label, ranked), group.name
    found = [
        _quantity(name, "AUROC", ranked, area, BOTH_CLASSES),
        share(name, "recall", cases.positive, positive, NO_POSITIVE),
    ]
    if not stratum.positives_only:
        found.append(share(name, "specificity", ~cases.positive, negative, NO_NEGATIVE))
    dice = weighted.mean_over(cases.dice, positive)
    found.append(_quantity(name, "lesion Dice", positive, dice, NO_POSITIVE))
    found.append(share(name, "share reaching stage two", cases.segmented, inside, ""))
    return found
