"""A CSV of masks read without mercy lost: every row, good or bad, with what is wrong with it.

:mod:`pneumoseg.reading.siim_csv` refuses a malformed table at its first bad line, as training and
evaluation must. ``doctor`` and ``validate`` are there to list them all. Runs are kept as intervals
of pixel numbers, so that overlaps, areas and unions need no grid and no picture.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg import rle
from pneumoseg.errors import DataError, UsageError
from pneumoseg.reading.siim_csv import (
    ENCODED_PIXELS_COLUMN,
    IMAGE_ID_COLUMN,
    LONGEST_FIELD,
    strip_image_suffix,
)

CHALLENGE_HEADER = f"{IMAGE_ID_COLUMN},{ENCODED_PIXELS_COLUMN}"
FEWEST_STEPS = 8
"""Runs a row needs before the distance of their starts says how tall its grid is."""
SAME_GRID = 1.25
"""Ratio between the height that the runs suggest and the grid's; a column's runs drift less."""

_WHOLE = re.compile(r"[+-]?\d{1,15}")


@dataclass(frozen=True, eq=False)
class MaskRow:
    """One row as it stands.

    Attributes:
        line: its last line in the file, 1-based.
        raw_id: the image's cell as written.
        image_id: without white space and image file ending.
        text: the run lengths' cell as written.
        numbers: int64 (k,) of the cell; None for ``-1`` and where the cell is not whole numbers.
        cells: the other cells by column, white space stripped.
    """

    line: int
    raw_id: str
    image_id: str
    text: str
    numbers: NDArray[np.int64] | None
    cells: dict[str, str]

    @property
    def is_empty(self) -> bool:
        """Whether the row says «no pneumothorax»."""
        return rle.is_empty(self.text)


@dataclass(frozen=True)
class MaskTable:
    """All rows of a CSV of masks, and the dialect it is written in."""

    path: Path
    header: tuple[str, ...]
    """Column names, white space stripped."""
    dialect: tuple[str, ...]
    """Departures from the challenge's plain form, one sentence each."""
    rows: tuple[MaskRow, ...]
    wrong_width: tuple[int, ...]
    """Lines with another number of cells than the header; they are no rows."""


def read_mask_table(path: Path) -> MaskTable:
    """Read a CSV of masks, whatever is wrong with its rows.

    Raises:
        UsageError: the file cannot be opened.
        DataError: not UTF-8, not a CSV, or no column for the image or for the run lengths.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give a CSV file") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})") from error
    limit = csv.field_size_limit(LONGEST_FIELD)
    try:
        reader = csv.reader(text.splitlines(keepends=True), strict=True)
        records = [(reader.line_num, record) for record in reader]
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: not a well-formed CSV: {error}"
        ) from error
    finally:
        csv.field_size_limit(limit)
    if not records:
        raise DataError(f"{path} is empty; expected a header {CHALLENGE_HEADER}")
    header = records[0][1]
    id_place, runs_place = (_place(path, header, n) for n in ("imageid", "encodedpixels"))
    rows, wrong_width = [], []
    for line, record in records[1:]:
        if not any(cell.strip() for cell in record):
            continue
        if len(record) != len(header):
            wrong_width.append(line)
            continue
        others = {
            name.strip(): cell.strip()
            for place, (name, cell) in enumerate(zip(header, record, strict=True))
            if place not in (id_place, runs_place)
        }
        rows.append(_row(line, record[id_place], record[runs_place], others))
    dialect = _dialect(content, header, rows)
    names = tuple(name.strip() for name in header)
    return MaskTable(path, names, dialect, tuple(rows), tuple(wrong_width))


def _place(path: Path, header: list[str], name: str) -> int:
    plain = [cell.replace(" ", "").replace("_", "").lower() for cell in header]
    if plain.count(name) != 1:
        shown = ",".join(cell.strip() for cell in header)[:80]
        raise DataError(
            f"{path}, line 1: expected the columns {CHALLENGE_HEADER}, got the header {shown!r}"
        )
    return plain.index(name)


def _row(line: int, raw_id: str, text: str, cells: dict[str, str]) -> MaskRow:
    words = text.split()
    numbers = None
    if words and not rle.is_empty(text) and all(_WHOLE.fullmatch(word) for word in words):
        numbers = np.array(words, dtype=np.int64)
    return MaskRow(line, raw_id, strip_image_suffix(raw_id), text, numbers, cells)


def _dialect(content: bytes, header: list[str], rows: list[MaskRow]) -> tuple[str, ...]:
    """Departures from ``ImageId,EncodedPixels``, plain ``-1`` and bare identifiers."""
    found = []
    if content.startswith(b"\xef\xbb\xbf"):
        found.append("the file begins with a byte order mark")
    if b"\r" in content:
        found.append("line ends are those of Windows (CRLF)")
    written = ",".join(header)
    if tuple(header[:2]) != (IMAGE_ID_COLUMN, ENCODED_PIXELS_COLUMN):
        found.append(f"the header is {written[:80]!r}, not {CHALLENGE_HEADER!r}")
    if len(header) > 2:
        others = [name.strip() for name in header if _plain(name) not in _PLAIN_NAMES]
        found.append(f"there are further columns: {', '.join(others)[:80]}")
    spaced = sum(row.text != row.text.strip() for row in rows)
    if spaced:
        found.append(f"{spaced} cells of run lengths have white space around them")
    endings = sum(row.raw_id.strip() != row.image_id for row in rows)
    if endings:
        found.append(f"{endings} image ids carry a file ending")
    return tuple(found)


_PLAIN_NAMES = ("imageid", "encodedpixels")


def _plain(name: str) -> str:
    return name.replace(" ", "").replace("_", "").lower()


def check_numbers(row: MaskRow) -> tuple[str, str] | None:
    """Find what is wrong with a row's run lengths whatever their grid.

    Returns:
        a code of :mod:`pneumoseg.doctor.validate` and a sentence, or None.
    """
    if row.is_empty:
        return None
    if row.numbers is None:
        return "not-whole-numbers", (
            f"run lengths must be -1 or whole numbers 'start length ...', got {row.text[:30]!r}"
        )
    if row.numbers.size % 2:
        return "odd-count", f"{row.numbers.size} numbers; run lengths come in pairs 'start length'"
    lengths, starts = row.numbers[1::2], row.numbers[0::2]
    if (lengths < 1).any():
        return "bad-length", f"a run has the length {int(lengths.min())}; 1 or more is expected"
    if starts[0] < 0:
        return "bad-start", f"the first run starts at {int(starts[0])}; 0 or more is expected"
    if (starts < 0).any():
        return "overlapping-runs", (
            f"run {int(np.argmax(starts < 0)) + 1} starts before the run before it ends"
        )
    return None


def intervals(row: MaskRow) -> NDArray[np.int64]:
    """Starts and ends (exclusive) of a sound row's runs, int64 (k, 2), rising; (0, 2) for -1."""
    if row.numbers is None:
        return np.empty((0, 2), dtype=np.int64)
    return np.cumsum(row.numbers).reshape(-1, 2)


def united(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Unite intervals: disjoint, rising, touching ones joined; int64 (k, 2)."""
    runs = np.concatenate(parts) if parts else np.empty((0, 2), dtype=np.int64)
    if not len(runs):
        return np.empty((0, 2), dtype=np.int64)
    runs = runs[np.argsort(runs[:, 0], kind="stable")]
    reached = np.maximum.accumulate(runs[:, 1])
    begins = np.concatenate(([True], runs[1:, 0] > reached[:-1]))
    ends = np.concatenate((np.flatnonzero(begins)[1:] - 1, [len(runs) - 1]))
    return np.stack((runs[begins, 0], reached[ends]), axis=1)


def area(runs: NDArray[np.int64]) -> int:
    """Pixels that intervals cover, each interval counted for itself."""
    return int((runs[:, 1] - runs[:, 0]).sum())


def suggested_height(row: MaskRow) -> float | None:
    """How many pixels a column of the row's grid seems to have; None where it cannot be told.

    The runs of a compact mask in neighbouring columns begin one column's height apart, give or
    take the slope of its border, so the median distance of starts is near the grid's height.
    """
    runs = intervals(row)
    if len(runs) < FEWEST_STEPS + 1:
        return None
    centres = runs.mean(axis=1)
    return float(np.median(np.diff(centres)))


def is_absolute(row: MaskRow, size: int) -> bool:
    """Whether numbers that make no sense as relative runs do as Kaggle's usual absolute ones.

    Those are 1-based starts from the first pixel, rising, each beyond the run before.

    Args:
        row: a row with pairs of whole numbers.
        size: pixels of the grid.
    """
    if row.numbers is None or row.numbers.size < 4 or row.numbers.size % 2:
        return False
    starts, lengths = row.numbers[0::2], row.numbers[1::2]
    ends = starts + lengths
    fits = starts[0] >= 1 and (lengths >= 1).all() and int(ends[-1]) - 1 <= size
    return bool(fits and (starts[1:] >= ends[:-1]).all())
