"""Train, calibration and test: who goes where, by patient, once.

A patient has up to a dozen films, and films of one patient look alike: a split by film would test
on what was trained on. So patients are split, never films. The split is stratified by «has any
positive film», so that calibration and test keep the natural share of pneumothorax; it is stored
in the cache's table and never drawn again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from pneumoseg.errors import DataError, UsageError

TRAIN = "train"
CALIBRATION = "calibration"
TEST = "test"
EXCLUDED = "excluded"
PARTS = (TRAIN, CALIBRATION, TEST, EXCLUDED)
"""``excluded``: a film that may not be evaluated on, of a patient who is in calibration or test; a
CT slice that is ambiguous, neither positive nor negative."""


@dataclass(frozen=True)
class Fractions:
    """Shares of the evaluable patients; the rest trains."""

    calibration: float = 0.30
    """Share of the evaluable patients whose films set thresholds and probabilities."""
    test: float = 0.40
    """Share of the evaluable patients on whose films the reported figures are measured."""

    def __post_init__(self) -> None:
        if self.calibration < 0 or self.test < 0 or self.calibration + self.test > 1:
            raise UsageError(
                "the calibration and test fractions must be 0 or more and sum to 1 at most, got "
                f"{self.calibration} and {self.test}"
            )


@dataclass(frozen=True)
class SplitImage:
    """What the split needs to know of one film."""

    patient: str
    """Patients are the same where this string is; an unknown patient is given the film's id."""
    positive: bool
    """Whether the film shows a pneumothorax."""
    evaluable: bool
    """Whether the film may be calibrated or tested on (its origin has the natural prevalence)."""
    stratum: str = ""
    """Patients of each stratum are split in the same fractions; a patient's first image counts."""


def assign_parts(
    images: Sequence[SplitImage],
    fractions: Fractions,
    seed: int,
    test_patients: Collection[str] = (),
) -> tuple[str, ...]:
    """Assign every film to a part.

    Patients with an evaluable film are split into calibration, test and train, positives (any
    evaluable film positive) and negatives of each stratum in the given fractions, rounded to whole
    patients. Evaluable films follow their patient; other films train, unless their patient is in
    calibration or test: then they are excluded. The split depends on the films and the seed, not on
    their order.

    Args:
        images: all films of the cache.
        fractions: shares of the evaluable patients.
        seed: of the split, 0 or more.
        test_patients: are not split but tested on.

    Returns:
        one of ``PARTS`` for each film, in the order given.

    Raises:
        DataError: a test patient has no evaluable film.
    """
    has_positive: dict[str, bool] = {}
    stratum_of: dict[str, str] = {}
    for image in images:
        if image.evaluable:
            has_positive[image.patient] = has_positive.get(image.patient, False) or image.positive
            stratum_of.setdefault(image.patient, image.stratum)
    for patient in test_patients:
        if patient not in has_positive:
            raise DataError(
                f"the test patient {patient!r} has no image that may be evaluated on; correct "
                "test_patients, or the patients in the sources' tables"
            )
    rng = np.random.default_rng(seed)
    part_of = dict.fromkeys(test_patients, TEST)
    strata = [(name, kind) for name in sorted(set(stratum_of.values())) for kind in (True, False)]
    for stratum in strata:
        patients = sorted(
            name
            for name, positive in has_positive.items()
            if (stratum_of[name], positive) == stratum and name not in part_of
        )
        drawn = [patients[index] for index in rng.permutation(len(patients))]
        calibration = round(len(drawn) * fractions.calibration)
        # Both roundings may go up: a fraction sum of 1 must not take a patient twice.
        test = min(round(len(drawn) * fractions.test), len(drawn) - calibration)
        for place, patient in enumerate(drawn):
            if place < calibration:
                part_of[patient] = CALIBRATION
            else:
                part_of[patient] = TEST if place < calibration + test else TRAIN
    parts = []
    for image in images:
        part = part_of.get(image.patient, TRAIN)
        parts.append(part if image.evaluable or part == TRAIN else EXCLUDED)
    return tuple(parts)


def check_disjoint(patients: Sequence[str], parts: Sequence[str]) -> None:
    """Make sure that no patient is on two sides of the split.

    Args:
        patients: of each film.
        parts: of each film; excluded films are on no side.

    Raises:
        DataError: a patient is in two parts, or a part is not one of ``PARTS``.
    """
    side_of: dict[str, str] = {}
    for patient, part in zip(patients, parts, strict=True):
        if part not in PARTS:
            raise DataError(f"unknown part {part!r}; the parts are {', '.join(PARTS)}")
        if part != EXCLUDED and side_of.setdefault(patient, part) != part:
            raise DataError(
                f"patient {patient} is in both {side_of[patient]} and {part}: figures would be "
                "measured on films of trained patients; prepare the cache again"
            )
