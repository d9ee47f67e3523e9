"""Which predictions are evaluated: those whose truth is known, all of one operating point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pneumoseg.errors import DataError
from pneumoseg.reading.predictions import Prediction


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


def volumes_of(predictions: list[Prediction]) -> dict[str, str] | None:
    """Image id -> volume, of slices; None where there is no slice: a film stands for itself."""
    found = {p.image_id: p.volume_id for p in predictions if p.volume_id is not None}
    return found or None
