"""Films with their truth, as the evaluation commands take them: a folder, a CSV, a table.

Films are read one at a time, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import DataError, InputError, RunLengthError, UsageError
from pneumoseg.reading import read, walk
from pneumoseg.reading.siim_csv import (
    IMAGE_SUFFIXES,
    drawn_mask,
    read_mask_rows,
    read_table,
    strip_image_suffix,
)
from pneumoseg.settings import at_least
from pneumoseg.study import Image

_NAMED_BY_FILE = frozenset(IMAGE_SUFFIXES) - {".dcm", ".dicom"}
"""Endings of rasters, whose image id is the file's name; a DICOM file's is inside."""


@dataclass(frozen=True)
class FilmSet:
    """Which films, and what says the truth about them."""

    images: Path
    """Folder of films: DICOM, PNG, JPEG, WebP or TIFF."""
    masks: Path
    """SIIM CSV of the true masks (columns ImageId and EncodedPixels)."""
    mask_grid: int | None = None
    """Side of the square grid the run lengths were written on, where it is not the films' own."""
    table: Path | None = None
    """CSV with image_id and, each optional, patient_id, view, age, sex."""
    where: tuple[str, ...] = ()
    """Only films whose row in the table says so: COLUMN=VALUE, or COLUMN=VALUE|VALUE for either."""

    def __post_init__(self) -> None:
        at_least("mask_grid", self.mask_grid, 1, "pixels")
        check_conditions(self.where, self.table)


@dataclass(frozen=True, eq=False)
class LabelledFilm:
    """One film with its truth.

    Attributes:
        image: the film.
        truth: bool (rows, cols) on the film's own pixels; where the mask was drawn on another grid,
            a pixel is true where at least half of it is covered.
        label: whether the mask as drawn has any pixel.
        patient_id: the image's own id where the patient is unknown.
        facts: the film's row in the table by column, white space stripped; empty without a table.
    """

    image: Image
    truth: NDArray[np.bool_]
    label: bool
    patient_id: str
    facts: dict[str, str]

    @property
    def image_id(self) -> str:
        """Name of the film in the CSV and in the table."""
        return self.image.source.image_id


def read_labelled_films(films: FilmSet) -> Iterator[LabelledFilm]:
    """Read the chosen films in the order of the folder, one at a time.

    Films of the folder that the masks or the conditions leave out are skipped.

    Raises:
        UsageError: a file or folder is missing.
        DataError: a chosen film is missing, unreadable or there twice; masks do not fit their film;
            no film is left.
    """
    rows = read_mask_rows(films.masks)
    facts = {} if films.table is None else read_table(films.table)
    for image in read_chosen(films.images, _wanted(films, rows, facts)):
        image_id = image.source.image_id
        yield _labelled(image, rows[image_id], films.mask_grid, facts.get(image_id, {}))


def read_chosen(folder: Path, wanted: Collection[str]) -> Iterator[Image]:
    """Read the films of a folder whose image id is wanted, in its order, one at a time.

    Raises:
        UsageError: the folder is missing.
        DataError: a wanted film is missing, unreadable or there twice.
    """
    left = set(wanted)
    for path in walk([folder]):
        if _named_otherwise(path, wanted):
            continue  # no need to read it
        try:
            image = read(path)
        except InputError as error:
            if strip_image_suffix(path.name) in wanted:
                raise DataError(f"{path} cannot be read: {error}") from error
            continue
        image_id = image.source.image_id
        if image_id not in wanted:
            continue
        if image_id not in left:
            raise DataError(f"{path}: image {image_id} is there twice; keep one of the two files")
        left.remove(image_id)
        yield image
    if left:
        raise DataError(
            f"{len(left)} of the {len(wanted)} labelled films are not in {folder} (the first is "
            f"{min(left)}); give the folder that has them, or choose with --where"
        )


def _wanted(
    films: FilmSet, rows: dict[str, list[str]], facts: dict[str, dict[str, str]]
) -> frozenset[str]:
    """Ids of the films that have truth and meet every condition."""
    chosen = set(rows)
    for condition in films.where:
        chosen &= ids_meeting(condition, facts, films.table)
    if not chosen:
        conditions = " and ".join(films.where) or "the masks CSV"
        raise DataError(f"no film of {films.masks} is left by {conditions}; check the names")
    return frozenset(chosen)


def _named_otherwise(path: Path, wanted: Collection[str]) -> bool:
    """Whether a file is a raster, whose name is its image id, and not one of those wanted."""
    return path.suffix.lower() in _NAMED_BY_FILE and strip_image_suffix(path.name) not in wanted


def ids_meeting(
    condition: str, facts: dict[str, dict[str, str]], table: Path | None
) -> frozenset[str]:
    """Ids of the images whose row in the table meets COLUMN=VALUE or COLUMN=VALUE|VALUE.

    Raises:
        DataError: the table has no such column.
    """
    column, _, values = condition.partition("=")
    either = values.split("|")
    if facts and column not in next(iter(facts.values())):
        known = ", ".join(next(iter(facts.values())))
        raise DataError(f"{table} has no column {column!r}; it has {known}")
    return frozenset(image_id for image_id, row in facts.items() if row[column] in either)


def check_conditions(where: tuple[str, ...], table: Path | None) -> None:
    """Refuse conditions without a table, or that are none.

    Raises:
        UsageError: a choice that contradicts another.
    """
    if where and table is None:
        raise UsageError("--where chooses films by a table's columns; give --table as well")
    for condition in where:
        if "=" not in condition.strip("="):
            raise UsageError(f"--where takes COLUMN=VALUE, got {condition!r}")


def _labelled(
    image: Image, runs: list[str], mask_grid: int | None, facts: dict[str, str]
) -> LabelledFilm:
    image_id, shape = image.source.image_id, (image.shape[0], image.shape[1])
    truth, label = true_mask(image_id, runs, shape, mask_grid)
    patient = facts.get("patient_id") or image.source.patient_id or image_id
    return LabelledFilm(image, truth, label, patient, facts)


def true_mask(
    image_id: str, runs: Iterable[str], shape: tuple[int, int], mask_grid: int | None
) -> tuple[NDArray[np.bool_], bool]:
    """Decode a film's true mask and bring it to the film's own pixels.

    Args:
        image_id: for the message.
        runs: run lengths of its rows; their union is the mask.
        shape: (rows, cols) of the film.
        mask_grid: side of the square grid they were drawn on, None for the film's own.

    Returns:
        bool of ``shape``, and whether the mask as drawn has any pixel.

    Raises:
        DataError: the mask does not fit, or a square grid was given for a film that is not.
    """
    try:
        mask = drawn_mask(runs, shape, mask_grid)
    except RunLengthError as error:
        rows, cols = shape if mask_grid is None else (mask_grid, mask_grid)
        raise DataError(
            f"image {image_id}: the true mask does not fit {rows}×{cols} "
            f"pixels: {error}; say the grid it was drawn on with --mask-grid"
        ) from error
    except InputError as error:
        raise DataError(f"image {image_id}: {error}") from error
    return bring_mask(mask, shape), bool(mask.any())


def bring_mask(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Bring a mask to another grid of the same proportions.

    Returns:
        bool of ``shape``: true where at least half of a pixel is covered.
    """
    if mask.shape == shape:
        return mask
    shrinking = shape[0] <= mask.shape[0] and shape[1] <= mask.shape[1]
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    resized = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=method)
    return np.asarray(resized >= 0.5, dtype=np.bool_)
