"""The films a model fails on worst, chosen by rule and shown as pictures.

Three kinds: pneumothoraces that were not suspected, the largest first; suspected ones whose outline
is farthest off, the largest first among those of equal Dice; healthy films suspected with the
highest probability. Pictures show patients: they go into the local report and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pneumoseg import rle
from pneumoseg.errors import DataError, InputError
from pneumoseg.evaluation.labelled_films import true_mask
from pneumoseg.evaluation.measured_films import Cases
from pneumoseg.reading import read, walk
from pneumoseg.reading.predictions import Prediction
from pneumoseg.study import Image, Mask
from pneumoseg.writing.overlay import draw_overlay, safe_file_name

MOST = 6
"""Films of each kind."""
SIDE = 480
"""Longer side of a picture, in pixels."""
MISSED, OUTLINE, ALARM = "missed pneumothorax", "poor outline", "false alarm"


@dataclass(frozen=True)
class WorstCase:
    """One film and its place in the arrays of :class:`Cases`."""

    kind: str
    place: int


def choose_worst(cases: Cases, most: int = MOST) -> tuple[WorstCase, ...]:
    """Choose at most ``most`` films of each kind, worst first; ties by image id."""
    ids = np.array(cases.image_id)
    kinds = (
        (MISSED, cases.label & ~cases.positive, (ids, -cases.true_share)),
        (OUTLINE, cases.label & cases.positive, (ids, -cases.true_share, cases.dice)),
        (ALARM, ~cases.label & cases.positive, (ids, -cases.probability)),
    )
    chosen = []
    for kind, over, keys in kinds:
        order = np.lexsort(keys)  # the last key first
        chosen += [WorstCase(kind, int(place)) for place in order[over[order]][:most]]
    return tuple(chosen)


def describe(case: WorstCase, cases: Cases) -> dict[str, Any]:
    """The numbers of one film, for JSON."""
    k = case.place
    return {
        "kind": case.kind,
        "image_id": cases.image_id[k],
        "probability": float(cases.probability[k]),
        "dice": float(cases.dice[k]),
        "true_share_of_film": float(cases.true_share[k]),
        "outlined_share_of_film": float(cases.predicted_share[k]),
        "side": str(cases.side[k]) or None,
        "picture": None,
    }


def draw_worst(
    chosen: tuple[WorstCase, ...],
    predictions: list[Prediction],
    truth: Mapping[str, list[str]],
    folder: Path,
    *,
    films: Path | None,
    mask_grid: int | None,
) -> list[str | None]:
    """Draw the chosen films with outline and truth as JPEG files.

    Args:
        chosen: from :func:`choose_worst`.
        predictions: of all films, in the order of the cases.
        truth: image id -> run lengths.
        folder: where the pictures go.
        films: folder the films lie in now; None for where they were predicted.
        mask_grid: side of the square grid the truth was drawn on.

    Returns:
        File name of each film's picture; None where ``films`` is None and the film is no longer
        where it was.

    Raises:
        DataError: a film is not in ``films``, cannot be read, or is another one by id or size.
    """
    wanted = [predictions[case.place] for case in chosen]
    found = None if films is None else _find(wanted, films)
    names: list[str | None] = []
    for prediction in wanted:
        path = _recorded(prediction) if found is None else found[prediction.image_id]
        if path is None:
            names.append(None)
            continue
        image = _read(path, prediction)
        real, _ = true_mask(
            prediction.image_id, truth[prediction.image_id], prediction.shape, mask_grid
        )
        predicted = Mask(rle.decode(prediction.run_lengths, prediction.shape))
        picture = draw_overlay(
            image, predicted if prediction.segmented else None, truth=Mask(real), max_side=SIDE
        )
        name = f"{safe_file_name(prediction.image_id)}.jpg"
        folder.mkdir(parents=True, exist_ok=True)
        _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]))
        (folder / name).write_bytes(jpeg.tobytes())
        names.append(name)
    return names


def _recorded(prediction: Prediction) -> Path | None:
    """Where the film was predicted, if it is still there."""
    path = None if prediction.path is None else Path(prediction.path)
    return path if path is not None and path.is_file() else None


def _find(wanted: list[Prediction], films: Path) -> dict[str, Path]:
    """Files of the wanted films below a folder, by the names they had when predicted."""
    names = {Path(p.path or "").name: p.image_id for p in wanted}
    found: dict[str, Path] = {}
    for path in walk([films]):
        image_id = names.get(path.name)
        if image_id is not None:
            found.setdefault(image_id, path)
    lone = next((p for p in wanted if p.image_id not in found), None)
    if lone is not None:
        raise DataError(
            f"{films} holds no file {Path(lone.path or '').name!r} for the image {lone.image_id}; "
            "give the folder of the films that were predicted, or leave --films out"
        )
    return found


def _read(path: Path, prediction: Prediction) -> Image:
    try:
        image = read(path)
    except InputError as error:
        raise DataError(f"the film {path} can no longer be read: {error}") from error
    if image.source.image_id != prediction.image_id or image.shape != prediction.shape:
        rows, cols = prediction.shape
        raise DataError(
            f"{path} is image {image.source.image_id} of {image.shape}, but {prediction.image_id} "
            f"of {rows}×{cols} was predicted; give the folder of those films with --films"
        )
    return image
