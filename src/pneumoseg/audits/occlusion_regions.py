"""Regions of a film that an occlusion audit covers, and how they are covered; 512×512 grid.

They are found by simple means (thresholds, components): good enough to say what an answer hangs on,
not to measure anatomy.
"""

from __future__ import annotations

from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.preprocess import GRID_SIZE, Placement

_CORNER = 0.15
"""Side of each covered corner, as a share of the film: where markers are mostly set."""
_TEXT_BRIGHTNESS = 235
_TEXT_RING = 0.22
"""Text is looked for this far from the film's edge."""
_TEXT_AREA = (6, 900)
"""Pixels of the 512×512 grid that one letter may have."""
_CHEST_ROWS, _CHEST_COLUMNS = (0.05, 0.82), (0.12, 0.88)
"""Box that holds the lungs of a frontal film and little of the air beside it, as shares."""
_OPENING = 15
_TRIES = 200
_MOST_OVERLAP = 0.1
"""A control region may share this much of its area with the truth."""
_BLUR = 24.0
_SMOOTH = 4.0
_LUNG_SLACK = 0.1
"""A control region may have this much less of its area on lung than the true region."""
Grid = NDArray[np.uint8]
Region = NDArray[np.bool_]


class Cover(StrEnum):
    """What covers a region; the values are the words of the report."""

    BLACK = "black"
    """As a collimator does."""
    GREY = "grey"
    """The film's median."""
    BLURRED = "blurred"
    """Brightness kept, lines gone."""
    PAINTED_OVER = "painted over"
    """Filled from around (Telea 2004)."""


def cover(grid: Grid, region: Region, filling: Cover) -> Grid:
    """Cover a region, bool (512, 512), of a film on the grid, uint8 (512, 512)."""
    match filling:
        case Cover.BLACK:
            covered = np.zeros_like(grid)
        case Cover.GREY:
            film = grid[grid > 0]
            covered = np.full_like(grid, np.uint8(np.median(film)) if film.size else 0)
        case Cover.BLURRED:
            covered = np.asarray(cv2.GaussianBlur(grid, (0, 0), _BLUR), dtype=np.uint8)
        case Cover.PAINTED_OVER:
            marked = region.astype(np.uint8)
            covered = np.asarray(cv2.inpaint(grid, marked, 5, cv2.INPAINT_TELEA), dtype=np.uint8)
    return np.where(region, covered, grid)


def border(placement: Placement, width: float) -> Region:
    """The outermost ``width`` (share of the longer side) of the film on the grid."""
    step = round(width * max(placement.height, placement.width))
    inside = np.zeros((GRID_SIZE, GRID_SIZE), dtype=np.bool_)
    top, left = placement.top + step, placement.left + step
    inside[
        top : placement.top + placement.height - step,
        left : placement.left + placement.width - step,
    ] = True
    return ~inside


def corners(placement: Placement) -> Region:
    """The four corners of the film on the grid."""
    region = np.zeros((GRID_SIZE, GRID_SIZE), dtype=np.bool_)
    side = round(_CORNER * max(placement.height, placement.width))
    film = region[
        placement.top : placement.top + placement.height,
        placement.left : placement.left + placement.width,
    ]
    film[:side, :side] = film[:side, -side:] = film[-side:, :side] = film[-side:, -side:] = True
    return region


def bright_text(grid: Grid, placement: Placement) -> Region:
    """Bright, small, sharp spots near the edge: letters, by their looks alone."""
    local = cv2.morphologyEx(grid, cv2.MORPH_TOPHAT, np.ones((25, 25), dtype=np.uint8))
    bright = ((grid >= _TEXT_BRIGHTNESS) & (local >= 60)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    low, high = _TEXT_AREA
    small = [i for i in range(1, count) if low <= stats[i, cv2.CC_STAT_AREA] <= high]
    found = np.isin(labels, small) & border(placement, _TEXT_RING)
    return np.asarray(
        cv2.dilate(found.astype(np.uint8), np.ones((5, 5), dtype=np.uint8)) > 0, dtype=np.bool_
    )


def lung_fields(grid: Grid) -> Region:
    """The two lungs roughly, bool (512, 512): the two largest dark parts of the chest's box.

    Dark is below Otsu's threshold (1979) of the box; bridges narrower than ``_OPENING`` are cut.
    """
    (top, bottom), (left, right) = (
        [round(share * GRID_SIZE) for share in shares] for shares in (_CHEST_ROWS, _CHEST_COLUMNS)
    )
    chest = np.ascontiguousarray(cv2.GaussianBlur(grid, (0, 0), _SMOOTH)[top:bottom, left:right])
    _, dark = cv2.threshold(chest, 0, 1, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_OPENING, _OPENING))
    opened = cv2.morphologyEx(dark, cv2.MORPH_OPEN, disc)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    largest = sorted(range(1, count), key=lambda i: -int(stats[i, cv2.CC_STAT_AREA]))[:2]
    found = np.zeros(grid.shape, dtype=np.bool_)
    found[top:bottom, left:right] = np.isin(labels, largest)
    return found


def places_elsewhere(
    region: Region, lung: Region, count: int, rng: np.random.Generator
) -> list[Region]:
    """Move a region to random places of the lungs, away from itself.

    A place counts when its middle is on a lung, and about as much of it as of the region.

    Args:
        region: bool (512, 512).
        lung: bool (512, 512), as :func:`lung_fields` finds them.
        count: how many places.
        rng: draws the places.

    Returns:
        Up to ``count`` regions of the same shape and size; fewer where no place is free.
    """
    rows, columns = np.nonzero(region)
    targets = np.argwhere(lung)
    if not rows.size or not targets.size:
        return []
    centre = np.array([rows.mean(), columns.mean()])
    on_lung = float(lung[region].mean())
    found: list[Region] = []
    for _ in range(_TRIES):
        if len(found) == count:
            break
        target = targets[int(rng.integers(len(targets)))]
        down, right = np.rint(target - centre).astype(np.int64)
        inside = (
            rows.min() + down >= 0
            and rows.max() + down < GRID_SIZE
            and columns.min() + right >= 0
            and columns.max() + right < GRID_SIZE
        )
        if not inside:
            continue
        moved = np.zeros_like(region)
        moved[rows + down, columns + right] = True
        apart = np.count_nonzero(moved & region) <= _MOST_OVERLAP * rows.size
        if apart and float(lung[moved].mean()) >= on_lung - _LUNG_SLACK:
            found.append(moved)
    return found
