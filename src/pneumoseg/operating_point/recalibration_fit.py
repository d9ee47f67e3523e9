"""The two numbers fitted to a site, the threshold chosen there, and both cross-validated.

The parent's log-odds z become ``slope * z + shift``. With so few films both are held towards the
parent by priors, ln slope ~ N(0, 0.5²) and shift ~ N(0, 2²), and the fit is the maximum of the
posterior (recalibration with shrinkage: Steyerberg et al. 2004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pneumoseg.calibration import OPEN, Calibration
from pneumoseg.errors import DataError
from pneumoseg.statistics.certified import CertifiedRecall, certify_recall
from pneumoseg.statistics.folds import folds_by_patient
from pneumoseg.statistics.logistic import fit_line_near_identity
from pneumoseg.statistics.proportions import clopper_pearson_lower

FEWEST = 10
"""Fewest patients with and without pneumothorax: below, two fitted numbers are mostly chance."""
SLOPE_PRIOR, SHIFT_PRIOR = 0.5, 2.0
"""Standard deviations of ln slope and of shift in log-odds: a slope within a factor of e and a
prevalence within a factor of fifty are expected; what lies beyond has to be seen in the films."""
MOST_FOLDS = 50
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LocalScores:
    """What the parent predicts of the local films: logit, label and patient, (n,) each."""

    logit: Values
    label: Flags
    patient: NDArray[np.str_]


def refuse_too_few(local: LocalScores) -> None:
    """Refuse films of too few patients with, or without, pneumothorax.

    Raises:
        DataError: fewer than ``FEWEST`` of either kind.
    """
    positive = np.unique(local.patient[local.label]).size
    negative = np.unique(local.patient[~local.label]).size
    if min(positive, negative) < FEWEST:
        raise DataError(
            f"{local.label.size} films, with pneumothorax in {positive} patients and without in "
            f"{negative}, are too few to recalibrate with; label more until there are {FEWEST} "
            "patients of each kind, and use the parent until then"
        )


def log_odds(calibration: Calibration, logit: Values) -> Values:
    """What a calibration makes of logits, in log-odds: (n,) finite."""
    return np.asarray(
        special.logit(np.clip(calibration.apply(logit), OPEN, 1 - OPEN)), dtype=np.float64
    )


def fit_shrunk(odds: Values, label: Flags) -> tuple[float, float]:
    """Fit ``slope * odds + shift`` to labels, held towards slope 1 and shift 0.

    Args:
        odds: (n,) log-odds of the parent.
        label: (n,) bool.

    Returns:
        The slope, positive, and the shift: the maximum of the posterior.
    """
    return fit_line_near_identity(odds, label, slope_spread=SLOPE_PRIOR, bias_spread=SHIFT_PRIOR)


def local_threshold(
    probability: Values, label: Flags, patient: NDArray[np.str_], recall: float
) -> CertifiedRecall:
    """A threshold for a recall, and the recall that may be claimed at it.

    Where the recall can be certified that is the threshold. Where there are too few patients, as
    many may lie below it as the recall allows of them (none of fewer than 20 at 0.95), and the
    claim is of the smaller recall that this certifies.
    """
    certified = certify_recall(probability, label, patient, recall)
    if certified.certified:
        return certified
    n = certified.n_units
    misses = int(np.floor((1.0 - recall) * n + 1e-9))
    bound = clopper_pearson_lower(n - misses, n)
    return certify_recall(probability, label, patient, bound * (1 - 1e-9))


def cross_validate(
    odds: Values, local: LocalScores, recall: float, seed: int
) -> tuple[Values, Flags]:
    """Probability and decision of each film by a fit without its patient: (n,) each.

    Patients are split into folds, one each where there are at most ``MOST_FOLDS``.

    Args:
        odds: (n,) log-odds of the parent.
        local: the films.
        recall: that each fold's threshold aims at.
        seed: of the folds.
    """
    folds = min(np.unique(local.patient).size, MOST_FOLDS)
    fold = folds_by_patient(local.patient, np.random.default_rng(seed), folds)
    probability = np.empty(odds.size)
    suspected = np.zeros(odds.size, dtype=np.bool_)
    for k in range(folds):
        out = fold == k
        rest = ~out
        slope, shift = fit_shrunk(odds[rest], local.label[rest])
        fitted = np.asarray(special.expit(slope * odds + shift))
        chosen = local_threshold(fitted[rest], local.label[rest], local.patient[rest], recall)
        probability[out] = fitted[out]
        suspected[out] = fitted[out] >= (chosen.threshold or 0.0)
    return probability, suspected
