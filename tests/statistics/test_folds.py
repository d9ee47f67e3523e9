"""Folds: patients whole, classes even, and None where there are too few."""

import numpy as np

from pneumoseg.statistics.folds import balanced_folds, folds_by_patient

PATIENT = np.repeat(np.arange(23), 3)


def test_a_patient_is_in_one_fold_and_folds_are_even() -> None:
    fold = folds_by_patient(PATIENT, np.random.default_rng(0), 5)
    of_patient = fold.reshape(23, 3)
    assert (of_patient == of_patient[:, :1]).all()
    assert sorted(np.bincount(of_patient[:, 0]).tolist()) == [4, 4, 5, 5, 5]


def test_a_patient_of_each_image_gives_each_a_fold_of_its_own() -> None:
    fold = folds_by_patient(np.arange(7), np.random.default_rng(0), 7)
    assert sorted(fold.tolist()) == list(range(7))


def test_patients_with_a_positive_image_are_spread_evenly() -> None:
    label = np.zeros(69, dtype=bool)
    label[:24:3] = True  # one film of each of eight patients
    fold = balanced_folds(label, PATIENT, np.random.default_rng(1), 4)
    assert fold is not None
    assert np.bincount(fold[label]).tolist() == [2, 2, 2, 2]
    assert balanced_folds(label, PATIENT, np.random.default_rng(1), 9) is None
