"""From predictions and truth to a few values per film: what all figures are computed on.

Masks are decoded, compared on the film's own pixels and dropped one film at a time, so that memory
does not grow with the number of films.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoseg import metrics, rle
from pneumoseg.errors import DataError, RunLengthError
from pneumoseg.evaluation.labelled_films import true_mask
from pneumoseg.postprocess import patient_side
from pneumoseg.reading.predictions import Prediction
from pneumoseg.statistics.froc import HIT_RULES, FilmLesions, label_lesions, match_lesions, overlaps
from pneumoseg.statistics.surface_distance import surface_distance

FEWEST_STEPS = 8
"""Fewest neighbouring columns of a mask that tell how many rows its grid has."""
LIKELY_STEP = (0.8, 1.25)
"""What the columns' distance may be, as a share of the rows of the right grid."""
RIGHT, LEFT, BOTH, UNKNOWN, NONE = "right", "left", "both", "unknown", ""


@dataclass(frozen=True)
class MeasuredFilm:
    """One film against its truth.

    Attributes:
        label: whether the mask as drawn has any pixel.
        has_predicted_mask: whether the cascade's mask has any pixel.
        dice: on the film's pixels; 0 for a missed lesion, 1 where both are empty.
        true_share: share of the film's pixels that the truth covers.
        predicted_share: share of the film's pixels that the predicted mask covers.
        side: patient's side of the truth: right, left, both, unknown, or empty without a lesion.
        hd95_mm: NaN where the spacing is unknown or a mask is empty.
        surface_mm: average symmetric surface distance, NaN likewise.
        lesions: by rule of :data:`~pneumoseg.statistics.froc.HIT_RULES`; empty where not wanted.
    """

    label: bool
    has_predicted_mask: bool
    dice: float
    true_share: float
    predicted_share: float
    side: str
    hd95_mm: float
    surface_mm: float
    lesions: Mapping[str, FilmLesions]


@dataclass(frozen=True, eq=False)
class Cases:
    """The evaluated films, one value each: (n,) arrays; names as in :class:`MeasuredFilm`."""

    image_id: tuple[str, ...]
    probability: NDArray[np.float64]
    positive: NDArray[np.bool_]
    segmented: NDArray[np.bool_]
    seconds: NDArray[np.float64]
    """NaN where the record does not say."""
    spacing_known: NDArray[np.bool_]
    label: NDArray[np.bool_]
    has_predicted_mask: NDArray[np.bool_]
    dice: NDArray[np.float64]
    true_share: NDArray[np.float64]
    predicted_share: NDArray[np.float64]
    side: NDArray[np.str_]
    hd95_mm: NDArray[np.float64]
    surface_mm: NDArray[np.float64]
    lesions: Mapping[str, list[FilmLesions]]
    patient: NDArray[np.int64] | None
    """A number per film, equal for films of one patient; None where no table was given."""
    without_patient: int
    """Films the table does not know; each counts as a patient of its own."""


def measure_cases(
    predictions: list[Prediction],
    truth: Mapping[str, list[str]],
    patients: Mapping[str, str] | None,
    *,
    mask_grid: int | None = None,
    by_lesion: bool = False,
) -> Cases:
    """Turn predictions and truth into per-film values, one film's masks at a time.

    Args:
        predictions: films that ``truth`` knows.
        truth: image id -> run lengths of its rows; their union is the true mask.
        patients: image id -> patient, None where nothing is known of patients.
        mask_grid: side of the square grid the truth was drawn on; None for the films' own.
        by_lesion: also match lesions and measure distances, for the report.

    Raises:
        DataError: a mask does not fit its film or was drawn on another grid, lesions that are not
            the united mask, a table of other images.
    """
    patient, without_patient = None, 0
    if patients is not None:
        patient, without_patient = _patients(predictions, patients)
    _check_grid(predictions, truth, mask_grid)
    films = [_measure(p, truth[p.image_id], mask_grid, by_lesion) for p in predictions]
    return Cases(
        image_id=tuple(p.image_id for p in predictions),
        probability=np.array([p.probability for p in predictions], dtype=np.float64),
        positive=np.array([p.positive for p in predictions], dtype=np.bool_),
        segmented=np.array([p.segmented for p in predictions], dtype=np.bool_),
        seconds=np.array([np.nan if p.seconds is None else p.seconds for p in predictions]),
        spacing_known=np.array([p.spacing_mm is not None for p in predictions], dtype=np.bool_),
        label=np.array([film.label for film in films], dtype=np.bool_),
        has_predicted_mask=np.array([film.has_predicted_mask for film in films], dtype=np.bool_),
        dice=np.array([film.dice for film in films], dtype=np.float64),
        true_share=np.array([film.true_share for film in films], dtype=np.float64),
        predicted_share=np.array([film.predicted_share for film in films], dtype=np.float64),
        side=np.array([film.side for film in films]),
        hd95_mm=np.array([film.hd95_mm for film in films], dtype=np.float64),
        surface_mm=np.array([film.surface_mm for film in films], dtype=np.float64),
        lesions={rule: [f.lesions[rule] for f in films] for rule in HIT_RULES} if by_lesion else {},
        patient=patient,
        without_patient=without_patient,
    )


def _patients(
    predictions: list[Prediction], table: Mapping[str, str]
) -> tuple[NDArray[np.int64], int]:
    """A number per film's patient; a film the table does not know is a patient of its own."""
    names = [
        (True, table[p.image_id]) if p.image_id in table else (False, p.image_id)
        for p in predictions
    ]
    number = {name: k for k, name in enumerate(dict.fromkeys(names))}
    without = sum(not known for known, _ in names)
    if without == len(names):
        raise DataError(
            f"the table gives none of the {len(names)} evaluated images a patient (the first is "
            f"{predictions[0].image_id}); give the table of this data set, or none"
        )
    return np.array([number[name] for name in names], dtype=np.int64), without


def _measure(
    prediction: Prediction, runs: list[str], mask_grid: int | None, by_lesion: bool
) -> MeasuredFilm:
    image_id, shape = prediction.image_id, prediction.shape
    predicted = _predicted_mask(prediction, prediction.run_lengths)
    true, label = true_mask(image_id, runs, shape, mask_grid)
    found = true.any()
    hd95 = surface = np.nan
    if by_lesion and prediction.spacing_mm is not None:
        distance = surface_distance(predicted, true, prediction.spacing_mm)
        if distance is not None:
            hd95, surface = distance.hd95_mm, distance.average_mm
    # A lesion that leaves no pixel on the film's own grid cannot be found: it is a miss.
    lost = label and not found
    return MeasuredFilm(
        label=label,
        has_predicted_mask=bool(predicted.any()),
        dice=0.0 if lost else metrics.dice(predicted, true),
        true_share=float(true.mean()),
        predicted_share=float(predicted.mean()),
        side=_side(true, prediction) if found else (UNKNOWN if label else NONE),
        hd95_mm=hd95,
        surface_mm=surface,
        lesions=_lesions(prediction, predicted, true) if by_lesion else {},
    )


def _predicted_mask(prediction: Prediction, runs: str) -> NDArray[np.bool_]:
    try:
        return rle.decode(runs, prediction.shape)
    except RunLengthError as error:
        rows, cols = prediction.shape
        raise DataError(
            f"image {prediction.image_id}: the predicted mask does not fit its grid of "
            f"{rows}×{cols} pixels: {error}"
        ) from error


def _side(true: NDArray[np.bool_], prediction: Prediction) -> str:
    """The patient's side of the lesions' centroids."""
    count, labels = label_lesions(true)
    inside = np.nonzero(labels)
    lesion = labels[inside]
    columns = np.bincount(lesion, weights=inside[1], minlength=count + 1)[1:]
    sides = set()
    for centroid in columns / np.bincount(lesion, minlength=count + 1)[1:]:
        side = patient_side(float(centroid), true.shape[1], prediction.patient_orientation)
        sides.add(UNKNOWN if side is None else side.value)
    if UNKNOWN in sides:
        return UNKNOWN
    return BOTH if len(sides) > 1 else sides.pop()


def _lesions(
    prediction: Prediction, predicted: NDArray[np.bool_], true: NDArray[np.bool_]
) -> dict[str, FilmLesions]:
    """Match the record's lesions with those of the truth under every rule."""
    masks = [_predicted_mask(prediction, lesion.run_lengths) for lesion in prediction.lesions]
    scores = tuple(lesion.score for lesion in prediction.lesions)
    united = np.zeros_like(predicted)
    for mask in masks:
        united |= mask
    if not np.array_equal(united, predicted):
        raise DataError(
            f"image {prediction.image_id}: its lesions in predictions.jsonl do not unite to its "
            "row in predictions_aggregated.csv; run predict again"
        )
    count, labels = label_lesions(true)
    shared, iou = overlaps(labels, count, masks)
    return {rule: match_lesions(shared, iou, scores, rule) for rule in HIT_RULES}


def _check_grid(
    predictions: list[Prediction], truth: Mapping[str, list[str]], mask_grid: int | None
) -> None:
    """Refuse masks drawn on another grid that fit all the same: their pixels would lie anywhere.

    The runs of a compact mask in neighbouring columns begin one column's height apart.
    """
    steps = []
    for prediction in predictions:
        rows = mask_grid or prediction.shape[0]
        for text in truth[prediction.image_id]:
            step = _column_step(text)
            if step is not None:
                steps.append((step / rows, step, rows))
    if not steps:
        return
    share, step, rows = sorted(steps)[len(steps) // 2]
    if not LIKELY_STEP[0] <= share <= LIKELY_STEP[1]:
        raise DataError(
            f"the masks seem to be drawn on columns of about {step:.0f} pixels, not of {rows}: "
            "say their grid with --mask-grid, or give the masks of these images"
        )


def _column_step(text: str) -> float | None:
    """Distance between the middles of neighbouring runs, None where they are too few."""
    numbers = np.array(text.split(), dtype=np.float64)
    if numbers.size < 2 * (FEWEST_STEPS + 1) or numbers.size % 2:
        return None
    edges = np.cumsum(numbers)
    return float(np.median(np.diff((edges[0::2] + edges[1::2]) / 2.0)))
