"""Images to folds, patients whole: nobody is judged by a fit that has seen them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def folds_by_patient(
    patient: NDArray[Any], rng: np.random.Generator, folds: int
) -> NDArray[np.int64]:
    """Split images into folds of as many patients each, or one fewer.

    Args:
        patient: (n,) a name or number per image.
        rng: orders the patients.
        folds: number of folds.

    Returns:
        (n,) a fold per image, from 0.
    """
    names, member = np.unique(patient, return_inverse=True)
    return _in_turn(names.size, rng, folds)[member]


def balanced_folds(
    label: NDArray[np.bool_], patient: NDArray[Any], rng: np.random.Generator, folds: int
) -> NDArray[np.int64] | None:
    """Split images into folds, patients with a positive image and the others each evenly.

    Args:
        label: (n,) bool, whether an image is positive.
        patient: (n,) a name or number per image.
        rng: orders the patients.
        folds: number of folds.

    Returns:
        (n,) a fold per image, from 0; None where a class has fewer patients than folds.
    """
    names, member = np.unique(patient, return_inverse=True)
    positive = np.bincount(member, weights=label, minlength=names.size) > 0
    if min(int(positive.sum()), int((~positive).sum())) < folds:
        return None
    fold = np.empty(names.size, dtype=np.int64)
    for kind in (positive, ~positive):
        fold[kind] = _in_turn(int(kind.sum()), rng, folds)
    return fold[member]


def _in_turn(patients: int, rng: np.random.Generator, folds: int) -> NDArray[np.int64]:
    return rng.permutation(patients) % folds
