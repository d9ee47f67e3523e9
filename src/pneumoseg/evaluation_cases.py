"""From predictions and truth to one value per image: what ``evaluate`` computes its figures on.

Masks are decoded, compared on the image's own pixels and dropped one image at a time, so that
memory does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg import metrics, rle
from pneumoseg.errors import DataError, RunLengthError
from pneumoseg.reading.predictions import Prediction


@dataclass(frozen=True, eq=False)
class Cases:
    """The evaluated images, one value each: (n,) arrays.

    ``dice`` is 0 for a missed lesion and 1 where truth and prediction are both empty.
    """

    probability: NDArray[np.float64]
    positive: NDArray[np.bool_]
    segmented: NDArray[np.bool_]
    label: NDArray[np.bool_]
    dice: NDArray[np.float64]
    patient: NDArray[np.int64] | None
    """A number per image, equal for images of one patient; None where no table was given."""
    without_patient: int
    """Images the table does not know; each counts as a patient of its own."""


def with_truth(
    predictions: list[Prediction],
    truth: Mapping[str, list[str]],
    *,
    masks_path: Path,
    allow_missing: bool,
) -> list[Prediction]:
    """Keep the predictions whose truth is known.

    Args:
        predictions: as read from a folder.
        truth: image id -> run lengths.
        masks_path: where ``truth`` came from, for the message.
        allow_missing: whether a predicted image without truth is left out or refused.

    Raises:
        DataError: a predicted image without truth that is not allowed, or no image left.
    """
    kept = [prediction for prediction in predictions if prediction.image_id in truth]
    if not kept:
        raise DataError(
            f"none of the {len(predictions)} predicted images is among the {len(truth)} images of "
            f"{masks_path}; do both name images alike?"
        )
    if len(kept) < len(predictions) and not allow_missing:
        lone = next(p.image_id for p in predictions if p.image_id not in truth)
        raise DataError(
            f"{len(predictions) - len(kept)} of {len(predictions)} predicted images have no row in "
            f"{masks_path} (the first is {lone}); add them, or leave them out with "
            "--allow-missing"
        )
    return kept


def one_operating_point(predictions: list[Prediction]) -> tuple[float, str]:
    """Return the classifier threshold and the bundle that all predictions share.

    Raises:
        DataError: they differ, and figures over them would describe no cascade at all.
    """
    thresholds = sorted({prediction.classifier_threshold for prediction in predictions})
    bundles = sorted({prediction.bundle for prediction in predictions})
    if len(thresholds) > 1 or len(bundles) > 1:
        raise DataError(
            f"the predictions were made with the classifier thresholds {thresholds} and the "
            f"bundles {bundles}; one of each was expected, predict again into a fresh folder"
        )
    return thresholds[0], bundles[0]


def _patients(
    predictions: list[Prediction], table: Mapping[str, str]
) -> tuple[NDArray[np.int64], int]:
    """A number per image's patient; an image the table does not know is a patient of its own."""
    names = [
        (True, table[p.image_id]) if p.image_id in table else (False, p.image_id)
        for p in predictions
    ]
    number = {name: k for k, name in enumerate(dict.fromkeys(names))}
    without = sum(not known for known, _ in names)
    return np.array([number[name] for name in names], dtype=np.int64), without


def measure_cases(
    predictions: list[Prediction],
    truth: Mapping[str, list[str]],
    patients: Mapping[str, str] | None,
) -> Cases:
    """Turn predictions and truth into per-image values, one image's masks at a time.

    Args:
        predictions: images that ``truth`` knows.
        truth: image id -> run lengths of its rows; their union is the true mask.
        patients: image id -> patient, None where nothing is known of patients.

    Raises:
        DataError: a mask does not fit its image.
    """
    patient, without_patient = None, 0
    if patients is not None:
        patient, without_patient = _patients(predictions, patients)
    label = [any(not rle.is_empty(text) for text in truth[p.image_id]) for p in predictions]
    return Cases(
        probability=np.array([p.probability for p in predictions], dtype=np.float64),
        positive=np.array([p.positive for p in predictions], dtype=np.bool_),
        segmented=np.array([p.segmented for p in predictions], dtype=np.bool_),
        label=np.array(label, dtype=np.bool_),
        dice=np.array([_image_dice(p, truth[p.image_id]) for p in predictions], dtype=np.float64),
        patient=patient,
        without_patient=without_patient,
    )


def _image_dice(prediction: Prediction, truth: list[str]) -> float:
    """Dice of one image on its own grid; a missed lesion is 0, an empty pair 1."""
    rows, cols = prediction.shape
    try:
        said = rle.decode(prediction.run_lengths, prediction.shape)
    except RunLengthError as error:
        raise DataError(
            f"image {prediction.image_id}: the predicted mask does not fit its grid of "
            f"{rows}×{cols} pixels: {error}"
        ) from error
    try:
        real = rle.decode_union(truth, prediction.shape)
    except RunLengthError as error:
        raise DataError(
            f"image {prediction.image_id}: the true mask does not fit the predicted image of "
            f"{rows}×{cols} pixels: {error}. Predict the images at the size the masks were drawn on"
        ) from error
    return metrics.dice(said, real)
