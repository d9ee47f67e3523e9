"""Which figures the report holds, and over which films each is taken.

A figure is a weighted statistic, the films it is over, and why it may be undefined; all figures
share one draw of patients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoseg.calibration import CALIBRATION_BINS
from pneumoseg.evaluation.measured_films import Cases
from pneumoseg.evaluation.strata import Group, Stratum
from pneumoseg.metrics import CONFIDENCE, SEED_BETA, Figure
from pneumoseg.statistics import weighted
from pneumoseg.statistics.froc import FALSE_POSITIVE_RATES, Candidates
from pneumoseg.statistics.resampling import Resampler, WeightedStatistic, once

BOTH_CLASSES = "needs positive and negative images"
NO_POSITIVE, NO_NEGATIVE = "no positive image", "no negative image"
NO_SPACING = "spacing in mm not known"
NO_SECONDS = "no such image, or the run did not record its seconds"

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Asked:
    """A figure to be computed.

    Attributes:
        group: heading it stands under.
        name: its name there.
        over: (n,) films it is taken over, for its n.
        statistic: of weights.
        reason: why it has no value, where it has none.
        proportion: whether it is a share of images that are either so or not.
    """

    group: str
    name: str
    over: Bools
    statistic: WeightedStatistic
    reason: str
    proportion: bool = False


def share(group: str, name: str, so: Bools, over: Bools, reason: str) -> Asked:
    """Ask for the share of the images of ``over`` that are ``so``, both (n,)."""
    return Asked(group, name, over, weighted.mean_over(so, over), reason, proportion=True)


def measure(asked: list[Asked], cases: Cases, draws: Resampler) -> list[tuple[str, Figure]]:
    """Compute figures with their intervals: (group, figure), in the order asked.

    Where all images of a share are alike every resample gives the same, and the bootstrap would
    claim certainty. The exact interval of as many patients (Clopper and Pearson 1934) stands in
    its place.
    """
    keyed = {str(place): figure.statistic for place, figure in enumerate(asked)}
    intervals = draws.intervals(keyed)
    found = []
    for place, figure in enumerate(asked):
        value, interval = once(figure.statistic, cases.label.size), intervals[str(place)]
        n, over = int(figure.over.sum()), figure.over
        patients = None if cases.patient is None else int(np.unique(cases.patient[over]).size)
        low, high = interval.low, interval.high
        if figure.proportion and value in (0.0, 1.0):
            low, high = _exact(value, n if patients is None else patients)
        defined = value is not None
        found.append(
            (
                figure.group,
                Figure(
                    name=figure.name,
                    value=value,
                    low=low if defined else None,
                    high=high if defined else None,
                    n=n,
                    n_positive=int((over & cases.label).sum()),
                    n_patients=patients,
                    unit=draws.unit,
                    reason="" if defined else figure.reason,
                ),
            )
        )
    return found


def _exact(value: float, units: int) -> tuple[float, float]:
    """Clopper-Pearson interval of a share of 0 or 1 among so many units."""
    beyond = ((1.0 - CONFIDENCE) / 2.0) ** (1.0 / units)
    return (beyond, 1.0) if value == 1.0 else (0.0, 1.0 - beyond)


def main_figures(cases: Cases) -> list[Asked]:
    """The seven figures of every evaluation."""
    label, everything, group = cases.label, np.ones_like(cases.label), "main"
    said, mean = cases.positive, weighted.mean_over
    area, f2 = weighted.auroc(cases.probability, label), weighted.f_beta(said, label, SEED_BETA)
    dice = cases.dice
    return [
        Asked(group, "AUROC", everything, area, BOTH_CLASSES),
        share(group, "recall", said, label, NO_POSITIVE),
        share(group, "specificity", ~said, ~label, NO_NEGATIVE),
        Asked(group, "F2", everything, f2, NO_POSITIVE),
        Asked(group, "lesion Dice", label, mean(dice, label), NO_POSITIVE),
        Asked(group, "SIIM mean Dice", everything, mean(dice, everything), ""),
        share(group, "share reaching stage two", cases.segmented, everything, ""),
    ]


def report_figures(cases: Cases, default_threshold: float) -> list[Asked]:
    """All figures over the whole data set, beside the seven."""
    return [
        *_ranking(cases),
        *_decisions(cases, "default", cases.probability >= default_threshold),
        *_decisions(cases, "calibrated", cases.positive),
        *_outlines(cases),
        *_lesions(cases),
        *_cost(cases),
    ]


def _ranking(cases: Cases) -> Iterator[Asked]:
    """Stage one's probability, whatever the threshold."""
    label, everything = cases.label, np.ones_like(cases.label)
    squared = (cases.probability - label) ** 2
    rows = [
        ("AUROC", weighted.auroc(cases.probability, label), BOTH_CLASSES),
        ("average precision", weighted.average_precision(cases.probability, label), NO_POSITIVE),
        ("prevalence", weighted.mean_over(label, everything), ""),
        ("Brier score", weighted.mean_over(squared, everything), ""),
        ("expected calibration error",
         weighted.expected_calibration_error(cases.probability, label, CALIBRATION_BINS), ""),
    ]  # fmt: skip
    for name, statistic, reason in rows:
        yield Asked("ranking and probability", name, everything, statistic, reason)


def _decisions(cases: Cases, which: str, said: Bools) -> Iterator[Asked]:
    """What a threshold decides."""
    label, group = cases.label, f"decisions at the {which} threshold"
    yield share(group, "recall", said, label, NO_POSITIVE)
    yield share(group, "specificity", ~said, ~label, NO_NEGATIVE)
    yield share(group, "PPV", label, said, "no image was suspected")
    yield share(group, "NPV", ~label, ~said, "every image was suspected")
    everything = np.ones_like(label)
    yield Asked(group, "F2", everything, weighted.f_beta(said, label, SEED_BETA), NO_POSITIVE)


def _outlines(cases: Cases) -> Iterator[Asked]:
    """Masks: overlap, the challenge's score beside silence, distances, films with an outline."""
    label, everything, group = cases.label, np.ones_like(cases.label), "outlines"
    mean = weighted.mean_over
    siim, silent = mean(cases.dice, everything), mean(~label, everything)
    yield Asked(group, "lesion Dice", label, mean(cases.dice, label), NO_POSITIVE)
    yield Asked(group, "SIIM mean Dice", everything, siim, "")
    yield Asked(group, "SIIM mean Dice of an all-empty submission", everything, silent, "")
    yield Asked(
        group, "SIIM mean Dice minus all-empty", everything, weighted.difference(siim, silent), ""
    )
    drawn = cases.outlined
    yield share(group, "recall by outline", drawn, label, NO_POSITIVE)
    yield share(group, "specificity by outline", ~drawn, ~label, NO_NEGATIVE)
    both = ~np.isnan(cases.hd95_mm)
    for name, values in (
        ("HD95 in mm", cases.hd95_mm),
        ("average surface distance in mm", cases.surface_mm),
    ):
        yield Asked(group, name, both, mean(np.nan_to_num(values), both), NO_SPACING)


def _lesions(cases: Cases) -> Iterator[Asked]:
    """By lesion: sensitivity and false positives with all outlines, and the FROC curve's values."""
    everything = np.ones_like(cases.label)
    for rule, films in cases.lesions.items():
        found, group = Candidates(films), f"lesions, hit by {rule}"
        reason = "no true lesion"
        yield Asked(
            group, "sensitivity", cases.label, weighted.ratio(found.hits, found.lesions), reason
        )
        yield Asked(
            group,
            "false positives per image",
            everything,
            weighted.mean_over(found.alarms, everything),
            "",
        )
        for rate in FALSE_POSITIVE_RATES:
            name = f"sensitivity at {rate:g} false positives per image"
            yield Asked(group, name, everything, found.sensitivity_at(rate), reason)


def _cost(cases: Cases) -> Iterator[Asked]:
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
        yield Asked(group, name, over, mean(seconds, over), NO_SECONDS)
    whole, both = mean(seconds, timed), mean(seconds, two)
    yield Asked(
        group,
        "time saved against always segmenting",
        timed,
        lambda weights: 1.0 - weighted.divided(whole(weights), both(weights)),
        NO_SECONDS,
    )


def stratum_figures(cases: Cases, stratum: Stratum, group: Group) -> list[Asked]:
    """The figures of one group of films.

    Groups of positive films only have their AUROC against all negatives, and no specificity.
    """
    inside, label = group.member, cases.label
    ill, well = inside & label, inside & ~label
    ranked = inside | ~label if stratum.positives_only else inside
    area, name = weighted.auroc(cases.probability, label, ranked), group.name
    found = [
        Asked(name, "AUROC", ranked, area, BOTH_CLASSES),
        share(name, "recall", cases.positive, ill, NO_POSITIVE),
    ]
    if not stratum.positives_only:
        found.append(share(name, "specificity", ~cases.positive, well, NO_NEGATIVE))
    dice = weighted.mean_over(cases.dice, ill)
    found.append(Asked(name, "lesion Dice", ill, dice, NO_POSITIVE))
    found.append(share(name, "share reaching stage two", cases.segmented, inside, ""))
    return found
