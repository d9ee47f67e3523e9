"""What can be wrong with the rows of a CSV of predictions: a function for each kind of trouble."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoseg.doctor.mask_table import (
    SAME_GRID,
    MaskRow,
    area,
    check_numbers,
    intervals,
    is_absolute,
    suggested_height,
    united,
)

PROBLEM_CODES = {
    "malformed-id": "an image id is empty, has white space inside or a file ending",
    "unknown-id": "an image id is not among those expected",
    "missing-id": "an expected image has no row",
    "duplicate-row": "an image has a second row where one is allowed",
    "wrong-width": "a line has another number of cells than the header",
    "not-whole-numbers": "run lengths are not whole numbers",
    "odd-count": "run lengths are not in pairs",
    "bad-length": "a run has a length below 1",
    "bad-start": "the first run starts before the first pixel",
    "overlapping-runs": "a run starts before the run before it ends",
    "outside-grid": "the runs end beyond the image's last pixel",
    "absolute-starts": "starts count from the first pixel and from 1, not from the run before",
    "wrong-grid": "the runs were written on a grid of another height",
    "lesion-number": "lesions of an image are not numbered 1, 2, 3, ... (of a slice: upwards)",
    "empty-not-alone": "an image has -1 beside other rows",
    "empty-with-values": "a row of -1 has an area, a score or a side",
    "overlapping-lesions": "two lesions of an image share pixels",
    "area-mismatch": "area_px is not what the runs cover",
    "bad-area-mm2": "area_mm2 is no area, or not in proportion to area_px",
    "bad-score": "score is not a number from 0 to 1",
    "bad-side": "side is not right, left or empty",
    "pair-differs": "the union of the lesions is not the row of the other CSV",
}
"""Every code a row can get, and what it means."""

SIDES = ("right", "left", "")
MM2_TOLERANCE = 0.011
"""mm² by which two lesions of an image may depart from one pixel size: areas have two decimals."""
ANY_SIZE = 2**62
"""A grid that everything fits, where the real one is not known."""
FEWEST_RUNS = 4
"""Runs a row needs for rising starts to be more than chance."""

Sizes = Mapping[str, tuple[int, int]]
Rows = tuple[MaskRow, ...]


@dataclass(frozen=True)
class Problem:
    """One thing wrong, with the line it stands on; 0 where it is about no line of the file."""

    line: int
    image_id: str
    code: str
    message: str


Problems = Iterator[Problem]


def check_ids(
    rows: Rows, expected: frozenset[str] | None, known: frozenset[str] | None
) -> Problems:
    """Ids that are malformed, unknown or missing.

    Args:
        rows: of the file.
        expected: ids that must each have a row; None where not known.
        known: ids that may have one; None where not known.
    """
    unknown_seen: set[str] = set()
    for row in rows:
        bare = row.raw_id.strip()
        if not row.image_id or any(c.isspace() for c in bare):
            yield Problem(row.line, row.image_id, "malformed-id", f"the image id is {bare!r}")
        elif bare != row.image_id and not (known is not None and bare in known):
            message = f"the image id {bare!r} carries a file ending; write {row.image_id}"
            yield Problem(row.line, row.image_id, "malformed-id", message)
        if known is not None and row.image_id not in known and row.image_id not in unknown_seen:
            unknown_seen.add(row.image_id)
            message = "this image is not among those expected"
            yield Problem(row.line, row.image_id, "unknown-id", message)
    for image_id in sorted((expected or frozenset()) - {row.image_id for row in rows}):
        yield Problem(
            0, image_id, "missing-id", "this image has no row; write -1 where it is empty"
        )


def check_runs(rows: Rows, sizes: Sizes | None) -> Problems:
    """Run lengths that are malformed, beyond the grid, of another grid or of another dialect."""
    sound = []
    for row in rows:
        wrong = check_numbers(row)
        if wrong is not None:
            yield Problem(row.line, row.image_id, *wrong)
        elif row.numbers is not None:
            sound.append(row)
    long = [row for row in sound if len(intervals(row)) >= FEWEST_RUNS]
    rising = sum(is_absolute(row, ANY_SIZE) for row in long)
    all_absolute = rising > len(long) / 2
    tall = _rows_of_another_height(sound, sizes)
    for row in sound:
        size = None if sizes is None else sizes.get(row.image_id)
        if is_absolute(row, ANY_SIZE) and (all_absolute or _ends_outside(row, size)):
            message = "starts rise through the row: they are counted from the first pixel, from 1"
            yield Problem(row.line, row.image_id, "absolute-starts", message)
        elif size is not None and _ends_outside(row, size):
            end = int(intervals(row)[-1, 1])
            message = f"the runs end at pixel {end}; {size[0]}×{size[1]} has {size[0] * size[1]}"
            yield Problem(row.line, row.image_id, "outside-grid", message)
        elif size is not None and row.line in tall:
            message = (
                f"neighbouring runs lie {tall[row.line]:.0f} pixels apart, as in columns of that "
                f"height; this image has {size[0]} rows"
            )
            yield Problem(row.line, row.image_id, "wrong-grid", message)


def _ends_outside(row: MaskRow, size: tuple[int, int] | None) -> bool:
    return size is not None and int(intervals(row)[-1, 1]) > size[0] * size[1]


def _rows_of_another_height(rows: list[MaskRow], sizes: Sizes | None) -> dict[int, float]:
    """Line -> suggested height, where most rows that say something contradict their grid.

    One row alone proves nothing: two lesions above each other halve the distance of the runs.
    """
    informative, against = 0, {}
    for row in rows:
        size = None if sizes is None else sizes.get(row.image_id)
        height = suggested_height(row)
        if size is None or height is None or height <= 0:
            continue
        informative += 1
        if not 1 / SAME_GRID <= height / size[0] <= SAME_GRID:
            against[row.line] = height
    return against if len(against) > informative / 2 else {}


def check_aggregated(rows: Rows) -> Problems:
    """A second row of an image, where all lesions should be united in one."""
    first: dict[str, int] = {}
    for row in rows:
        if first.setdefault(row.image_id, row.line) != row.line:
            message = f"line {first[row.image_id]} is of the same image; unite the masks in one row"
            yield Problem(row.line, row.image_id, "duplicate-row", message)


def check_split(rows: Rows, *, slices: bool = False) -> Problems:
    """Numbering, emptiness, overlaps, areas, scores and sides of a table of lesions.

    Args:
        rows: as read.
        slices: whether the images are slices of CT volumes: a lesion then keeps its number in all
            of its slices, and a slice need not show every lesion of its volume.
    """
    for image_id, own in by_image(rows).items():
        yield from _check_alone(image_id, own)
        yield from (_check_slice_numbers if slices else _check_numbering)(image_id, own)
        yield from _check_overlaps(image_id, own)
        for row in own:
            yield from _check_empty_cells(row) if row.is_empty else _check_values(row)
        yield from _check_pixel_size(image_id, own)


def by_image(rows: Rows) -> dict[str, list[MaskRow]]:
    """Rows of each image, in file order."""
    grouped: dict[str, list[MaskRow]] = {}
    for row in rows:
        grouped.setdefault(row.image_id, []).append(row)
    return grouped


def _check_alone(image_id: str, rows: list[MaskRow]) -> Problems:
    for row in rows:
        if row.is_empty and len(rows) > 1:
            message = f"-1 beside {len(rows) - 1} other rows of the image; an empty row is alone"
            yield Problem(row.line, image_id, "empty-not-alone", message)


def _check_numbering(image_id: str, rows: list[MaskRow]) -> Problems:
    for number, row in enumerate((row for row in rows if not row.is_empty), start=1):
        cell = row.cells["lesion"]
        if cell != str(number):
            message = f"lesion is {cell!r}, {number} was expected: 1, 2, 3, ... without gaps"
            yield Problem(row.line, image_id, "lesion-number", message)


def _check_slice_numbers(image_id: str, rows: list[MaskRow]) -> Problems:
    last = 0
    for row in rows:
        if row.is_empty:
            continue
        cell = row.cells["lesion"]
        if not (cell.isascii() and cell.isdigit() and cell == str(int(cell)) and int(cell) > last):
            message = f"lesion is {cell!r}; a whole number above {last} was expected in this slice"
            yield Problem(row.line, image_id, "lesion-number", message)
        else:
            last = int(cell)


def _check_overlaps(image_id: str, rows: list[MaskRow]) -> Problems:
    before: NDArray[np.int64] = np.empty((0, 2), dtype=np.int64)
    for row in rows:
        if row.is_empty or check_numbers(row) is not None:
            continue
        own = united([intervals(row)])
        together = united([before, own])
        shared = area(before) + area(own) - area(together)
        if shared:
            message = f"{shared} pixels belong to an earlier lesion of the image too"
            yield Problem(row.line, image_id, "overlapping-lesions", message)
        before = together


def _check_empty_cells(row: MaskRow) -> Problems:
    for name in ("lesion", "area_px", "area_mm2", "score", "side"):
        if row.cells[name]:
            message = f"{name} is {row.cells[name]!r} in a row of -1; leave it empty"
            yield Problem(row.line, row.image_id, "empty-with-values", message)


def _check_values(row: MaskRow) -> Problems:
    cells, line, image_id = row.cells, row.line, row.image_id
    if check_numbers(row) is None:
        covered = area(intervals(row))
        if cells["area_px"] != str(covered):
            message = f"area_px is {cells['area_px']!r}, the runs cover {covered} pixels"
            yield Problem(line, image_id, "area-mismatch", message)
    score = _number(cells["score"])
    if score is None or not 0.0 <= score <= 1.0:
        message = f"score is {cells['score']!r}; a number from 0 to 1 is expected"
        yield Problem(line, image_id, "bad-score", message)
    if cells["side"] not in SIDES:
        message = f"side is {cells['side']!r}; right, left or nothing is expected"
        yield Problem(line, image_id, "bad-side", message)
    mm2 = _number(cells["area_mm2"])
    if cells["area_mm2"] and (mm2 is None or mm2 <= 0):
        message = f"area_mm2 is {cells['area_mm2']!r}; a positive number or nothing is expected"
        yield Problem(line, image_id, "bad-area-mm2", message)


def _check_pixel_size(image_id: str, rows: list[MaskRow]) -> Problems:
    """The lesions of one image have one size of pixel."""
    reference: tuple[float, float] | None = None
    for row in rows:
        mm2, pixels = _number(row.cells["area_mm2"]), _number(row.cells["area_px"])
        if not mm2 or not pixels or mm2 < 0 or pixels < 0:
            continue
        if reference is None:
            reference = mm2, pixels
            continue
        expected = reference[0] / reference[1] * pixels
        # both areas are rounded; the first one's rounding grows with the ratio of the two
        if abs(mm2 - expected) > MM2_TOLERANCE * (1.0 + pixels / reference[1]):
            message = f"area_mm2 is {mm2:g}, by the image's first lesion it would be {expected:.2f}"
            yield Problem(row.line, image_id, "bad-area-mm2", message)


def check_pair(rows: Rows, other: Rows, other_name: str) -> Problems:
    """Images whose united mask is not the same in the run's other CSV."""
    mine, theirs = by_image(rows), by_image(other)
    for image_id, own in mine.items():
        if image_id not in theirs:
            message = f"{other_name} has no row of this image"
            yield Problem(own[0].line, image_id, "pair-differs", message)
            continue
        if any(check_numbers(row) is not None for row in own + theirs[image_id]):
            continue
        here = united([intervals(row) for row in own])
        there = united([intervals(row) for row in theirs[image_id]])
        if not np.array_equal(here, there):
            different = 2 * area(united([here, there])) - area(here) - area(there)
            message = f"{different} px differ from the united mask in {other_name}"
            yield Problem(own[0].line, image_id, "pair-differs", message)
    for image_id in sorted(theirs.keys() - mine.keys()):
        message = f"{other_name} has a row of this image, this file has none"
        yield Problem(0, image_id, "pair-differs", message)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
