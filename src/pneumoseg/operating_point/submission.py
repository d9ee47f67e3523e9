"""The operating point of a submission: which films keep their mask, for the best mean Dice.

The SIIM-ACR challenge gives a healthy film without a mask the full Dice of 1, so that every false
outline costs as much as a missed film. A screening point, set to miss almost nothing, loses there
against a file that says «nothing» everywhere. Searched is which films keep their mask: the
threshold of stage one, and the triplet rule of the challenge's winner (enough pixels must reach a
high threshold). What the masks look like stays as it was chosen for the lesion Dice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import DataError
from pneumoseg.operating_point.outline_tables import TOP_RULES
from pneumoseg.settings import PipelineConfig
from pneumoseg.statistics.segmenter_search import SegmenterCase, kept_areas

MOST_GATES = 60
"""Thresholds of stage one tried at most, at quantiles of the suspected films' probabilities."""


def choose_submission_point(
    cases: Sequence[SegmenterCase], probability: NDArray[np.float64], screening: PipelineConfig
) -> PipelineConfig:
    """Search threshold and triplet rule for the highest mean Dice over all films.

    Args:
        cases: one per film; maps of those that ``screening`` does not suspect are not looked at.
        probability: float64 (n,), calibrated, of each film.
        screening: the point to start from: its pixel threshold and smallest lesion are kept, and
            no film that it does not suspect gets a mask.

    Returns:
        The point with the best mean Dice (both masks empty: 1); among equal ones the lowest
        threshold of stage one, then no triplet rule.

    Raises:
        DataError: no cases.
    """
    if not cases:
        raise DataError("give one film or more to choose a submission's operating point on")
    rules = [rule for rule in TOP_RULES if rule[0] == 0 or rule[0] >= screening.segmenter_threshold]
    silent, dice = np.zeros(len(cases)), np.zeros(len(cases))
    passes = np.zeros((len(cases), len(rules)), dtype=np.bool_)
    for i, case in enumerate(cases):
        silent[i] = not case.truth.any()
        dice[i], passes[i] = silent[i], False
        if case.suspected:
            dice[i] = _dice(case, screening)
            passes[i] = [_reaches(case.probabilities, *rule) for rule in rules]
    gates = _gates(probability, screening.classifier_threshold)
    kept = probability[:, None] >= gates  # (n, gates)
    gain = (dice - silent)[:, None] * kept  # of a film that keeps its mask over one without
    means = silent.mean() + gain.T @ passes / len(cases)  # (gates, rules)
    gate, rule = np.unravel_index(int(np.argmax(np.round(means, 9))), means.shape)
    top_threshold, top_min_pixels = rules[rule]
    return dataclasses.replace(
        screening,
        classifier_threshold=float(gates[gate]),
        top_threshold=top_threshold,
        top_min_pixels=top_min_pixels,
    )


def _gates(probability: NDArray[np.float64], lowest: float) -> NDArray[np.float64]:
    """Thresholds to try: the lowest, then quantiles of what reaches it, ascending."""
    above = np.unique(probability[probability >= lowest])
    if len(above) > MOST_GATES:
        above = np.unique(np.quantile(above, np.linspace(0, 1, MOST_GATES), method="nearest"))
    return np.unique(np.concatenate([[lowest], above]))


def _dice(case: SegmenterCase, config: PipelineConfig) -> float:
    area, overlap = kept_areas(
        case.probabilities, case.truth, [config.segmenter_threshold], [config.min_pixels]
    )
    total = float(area[0, 0]) + np.count_nonzero(case.truth)
    return 2.0 * float(overlap[0, 0]) / total if total else 1.0


def _reaches(probabilities: NDArray[np.float32], threshold: float, pixels: int) -> bool:
    return threshold == 0 or int(np.count_nonzero(probabilities >= threshold)) >= pixels
