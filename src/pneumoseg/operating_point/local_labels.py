"""A few local films with one label each: what a site has before it has masks.

The labels come from a CSV of masks (an image with a mask is positive) or from a CSV with the
columns ``image_id`` and ``label``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.errors import DataError, UsageError
from pneumoseg.evaluation.labelled_films import check_conditions, ids_meeting, read_chosen
from pneumoseg.reading.siim_csv import (
    read_columns,
    read_mask_rows,
    read_table,
    strip_image_suffix,
)
from pneumoseg.study import Image

_POSITIVE, _NEGATIVE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
_EMPTY_MASK = "-1"


@dataclass(frozen=True)
class LocalFilms:
    """Which films, and what says whether they show a pneumothorax."""

    images: Path
    """Folder of films: DICOM, PNG, JPEG, WebP or TIFF."""
    masks: Path | None = None
    """SIIM CSV of masks (columns ImageId and EncodedPixels): an image with a mask is positive."""
    labels: Path | None = None
    """CSV with the columns image_id and label (0 or 1), in place of masks."""
    table: Path | None = None
    """CSV with image_id and patient_id, and any columns for where."""
    where: tuple[str, ...] = ()
    """Only films whose row in the table says so: COLUMN=VALUE, or COLUMN=VALUE|VALUE for either."""

    def __post_init__(self) -> None:
        if (self.masks is None) == (self.labels is None):
            raise UsageError("give either masks (a SIIM CSV) or labels (a CSV of image_id, label)")
        check_conditions(self.where, self.table)


@dataclass(frozen=True, eq=False)
class LocalFilm:
    """One film, its label and its patient (the image's own id where unknown)."""

    image: Image
    label: bool
    patient_id: str


def read_local_films(films: LocalFilms) -> Iterator[LocalFilm]:
    """Read the labelled films in the order of the folder, one at a time.

    Raises:
        UsageError: a file or folder is missing.
        DataError: a labelled film is missing, unreadable or there twice, a CSV is malformed, or no
            film is left.
    """
    labels = read_labels(films)
    facts = {} if films.table is None else read_table(films.table)
    for condition in films.where:
        chosen = ids_meeting(condition, facts, films.table)
        labels = {image_id: label for image_id, label in labels.items() if image_id in chosen}
    if not labels:
        conditions = " and ".join(films.where) or "the labels"
        raise DataError(f"no labelled film is left by {conditions}; check the names")
    for image in read_chosen(films.images, labels):
        image_id = image.source.image_id
        patient = facts.get(image_id, {}).get("patient_id") or image.source.patient_id or image_id
        yield LocalFilm(image, labels[image_id], patient)


def read_labels(films: LocalFilms) -> dict[str, bool]:
    """Read image -> label from whichever CSV was given.

    Raises:
        UsageError: the file cannot be opened.
        DataError: not such a CSV, a label that is neither 0 nor 1, an image listed twice.
    """
    if films.masks is not None:
        rows = read_mask_rows(films.masks)
        return {i: any(runs != _EMPTY_MASK for runs in cells) for i, cells in rows.items()}
    labels: dict[str, bool] = {}
    if films.labels is None:
        return labels
    for line, (name, cell) in read_columns(films.labels, ("image_id", "label")):
        image_id, word = strip_image_suffix(name), cell.strip().lower()
        if word not in _POSITIVE + _NEGATIVE:
            raise DataError(
                f"{films.labels}, line {line}: label must be 0 or 1, got {cell.strip()!r}"
            )
        if image_id in labels:
            raise DataError(f"{films.labels}, line {line}: image {image_id} is listed twice")
        labels[image_id] = word in _POSITIVE
    return labels
