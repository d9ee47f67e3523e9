"""The SIIM-ACR challenge's CSV of masks: one strict reader for training, evaluation and tests.

The challenge and its mirrors write the same two columns in several dialects: ``ImageId,
EncodedPixels`` with or without a space, ``-1`` with or without one, file names in place of
identifiers, a byte order mark, Windows line ends, a mask drawn on a square grid of its own. All are
read here and nowhere else; the run lengths themselves are :mod:`pneumoseg.rle`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg import rle
from pneumoseg.errors import DataError, InputError, UsageError

IMAGE_ID_COLUMN = "ImageId"
ENCODED_PIXELS_COLUMN = "EncodedPixels"

IMAGE_SUFFIXES = (".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""File name endings that mirrors of the challenge leave on an identifier. A UID's own dots stay."""

LONGEST_FIELD = 2**31 - 1
"""csv refuses fields above 131,072 characters; the runs of one ragged mask can be longer."""

_RUN_LENGTHS = re.compile(r"-1|\d+\s+\d+(?:\s+\d+\s+\d+)*")


def strip_image_suffix(name: str) -> str:
    """Bring a cell to the bare image id: white space and one known image file ending removed."""
    name = name.strip()
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def read_mask_rows(path: Path) -> dict[str, list[str]]:
    """Read the run lengths of every image of a SIIM CSV.

    Args:
        path: a CSV with the columns ``ImageId`` and ``EncodedPixels`` (in any order, case and
            spacing; further columns are ignored), UTF-8 with or without a byte order mark.

    Returns:
        image id -> its rows' run lengths, stripped, in file order; several rows of an image are
        several annotations and unite to one mask (:func:`pneumoseg.rle.decode_union`). ``"-1"`` is
        the empty mask. Whether the runs fit a grid is not known here.

    Raises:
        UsageError: the file cannot be opened.
        DataError: not such a CSV; the message names the line.
    """
    rows: dict[str, list[str]] = {}
    for line, record in read_columns(path, (IMAGE_ID_COLUMN, ENCODED_PIXELS_COLUMN)):
        image_id = strip_image_suffix(record[0])
        text = record[1].strip()
        if not image_id:
            raise DataError(f"{path}, line {line}: the {IMAGE_ID_COLUMN} cell is empty")
        if not _RUN_LENGTHS.fullmatch(text):
            raise DataError(
                f"{path}, line {line}: {ENCODED_PIXELS_COLUMN} of {image_id} must be -1 or pairs "
                f"of whole numbers 'start length', got {text[:40]!r}"
            )
        rows.setdefault(image_id, []).append(text)
    if not rows:
        raise DataError(f"{path} has a header but no rows; expected one row or more per image")
    return rows


def drawn_mask(
    runs: Iterable[str], shape: tuple[int, int], mask_grid: int | None
) -> NDArray[np.bool_]:
    """Decode a film's true mask on the grid it was drawn on.

    Args:
        runs: run lengths of the film's rows; their union is the mask.
        shape: (rows, cols) of the film.
        mask_grid: side of the square grid they were written on, None for the film's own.

    Returns:
        bool (mask_grid, mask_grid), or of ``shape``.

    Raises:
        InputError: a square grid was given for a film that is not.
        RunLengthError: the runs do not fit the grid.
    """
    if mask_grid is None:
        return rle.decode_union(runs, shape)
    if shape[0] != shape[1]:
        raise InputError(
            f"the film is {shape[0]}×{shape[1]} but its mask grid {mask_grid}×{mask_grid} is "
            "square; give the film at its own proportions",
            code="mask-grid-mismatch",
        )
    return rle.decode_union(runs, (mask_grid, mask_grid))


def read_patients(path: Path) -> dict[str, str]:
    """Read image -> patient from a CSV with the columns ``image_id`` and ``patient_id``.

    Images with an empty patient are left out.

    Raises:
        UsageError: the file cannot be opened.
        DataError: not such a CSV, or an image with two patients.
    """
    patients: dict[str, str] = {}
    for line, (name, patient) in read_columns(path, ("image_id", "patient_id")):
        image_id, patient = strip_image_suffix(name), patient.strip()
        if patient and patients.setdefault(image_id, patient) != patient:
            raise DataError(
                f"{path}, line {line}: image {image_id} has the patients "
                f"{patients[image_id]} and {patient}; an image has one"
            )
    return patients


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """Read every column of a table of images.

    Args:
        path: a CSV with the column ``image_id`` and any others, UTF-8.

    Returns:
        image id -> column -> cell, white space stripped; the columns' names as written, stripped.

    Raises:
        UsageError: the file cannot be opened.
        DataError: not such a CSV, or an image has two rows.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = [cell.strip() for cell in next(csv.reader(file), [])]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV in UTF-8: {error}") from error
    names = [name for name in header if _plain(name) not in ("imageid", "")]
    table: dict[str, dict[str, str]] = {}
    for line, (name, *cells) in read_columns(path, ("image_id", *names)):
        image_id = strip_image_suffix(name)
        if image_id in table:
            raise DataError(f"{path}, line {line}: image {image_id} is listed twice; keep one row")
        table[image_id] = {n: cell.strip() for n, cell in zip(names, cells, strict=True)}
    return table


def read_columns(path: Path, names: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Read some columns of a CSV, found by name whatever their order, case, spaces, underscores.

    Args:
        path: UTF-8 with or without a byte order mark; blank lines are skipped.
        names: the columns wanted.

    Yields:
        line number (the last line of a record, 1-based) and the wanted cells in the order of
        ``names``, as written.

    Raises:
        UsageError: the file cannot be opened.
        DataError: not UTF-8, not a CSV, a wanted column missing or twice, a row of another width.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file, _long_fields():
            reader = csv.reader(file, strict=True)
            header = next(reader, None)
            if header is None:
                raise DataError(f"{path} is empty; expected a header {','.join(names)}")
            places = _places(path, header, names)
            for record in reader:
                if not any(cell.strip() for cell in record):
                    continue
                if len(record) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(record)} cells where the header "
                        f"has {len(header)}"
                    )
                yield reader.line_num, tuple(record[place] for place in places)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give a CSV file") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start}); give a CSV file"
        ) from error
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: not a well-formed CSV: {error}"
        ) from error


def _places(path: Path, header: list[str], names: tuple[str, ...]) -> list[int]:
    """Index of each wanted column in the header."""
    found = [_plain(cell) for cell in header]
    for name in names:
        if found.count(_plain(name)) != 1:
            shown = ",".join(cell.strip() for cell in header)[:80]
            raise DataError(
                f"{path}, line 1: expected one column {name} (of {','.join(names)}), "
                f"got the header {shown!r}"
            )
    return [found.index(_plain(name)) for name in names]


def _plain(column: str) -> str:
    """A column's name without case, spaces and underscores: ImageId is image_id."""
    return column.replace(" ", "").replace("_", "").lower()


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lift csv's limit on a field's length and put it back: the limit is one for the process."""
    limit = csv.field_size_limit(LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
