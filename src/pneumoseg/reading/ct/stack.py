"""Orders the slices of one CT volume by where they lie, and says where that is.

The order is that of ImagePositionPatient along the normal of the slices (PS3.3 C.7.6.2.1.1), never
that of file names or InstanceNumber.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import InputError
from pneumoseg.reading.ct.header import SliceHeader
from pneumoseg.reading.orientation import AxisMap, axis_map, canonical_geometry, spacing_of
from pneumoseg.study import Geometry

SAME_POSITION_MM = 0.01
"""Slices closer than this along the normal lie at the same place."""
SAME_ORIENTATION = 2e-3
"""Largest difference of direction cosines within a volume: they are written with few digits."""
SAME_SPACING = 1e-3
"""Largest relative difference of PixelSpacing within a volume."""
OFF_LINE_MM = 1.0
"""Largest distance of a slice's first pixel from the line through the first and the last slice."""
UNEVEN = 0.2
"""Largest distance of a slice from its place in an even stack, as a share of the usual spacing:
more than positions written with one decimal are off, less than any missing slice makes."""
WHOLE_STEPS = 0.25
"""So near a multiple of the usual spacing a gap is one of missing slices, not another spacing."""
TILT_DEGREES = 0.5
"""A smaller angle between the stack and the normal of its slices is rounding, not tilt."""
SHOWN_GAPS = 5


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in canonical order, head to feet.

    Attributes:
        slices: their headers.
        axes: how canonical rows and columns lie in the stored slices; the stored array is (cols,
            rows, slices), its slices in canonical order.
        geometry: None where PixelSpacing or, of a single slice, its thickness is missing.
        spacing_mm: between slices along their normal, rows, columns; None where ``geometry`` is.
        notes: what was found, one sentence each.
    """

    slices: tuple[SliceHeader, ...]
    axes: AxisMap
    geometry: Geometry | None
    spacing_mm: tuple[float, float, float] | None
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, cols) along canonical axes."""
        rows, cols = self.slices[0].shape
        stored = (cols, rows, len(self.slices))
        slices, rows, cols = (stored[axis] for axis in self.axes.stored_axes)
        return slices, rows, cols


def projections(slices: Sequence[SliceHeader]) -> NDArray[np.float64] | None:
    """Where slices of one orientation lie along their normal, growing toward the feet.

    Returns:
        float64 (n,), mm; None where positions, or else locations, or orientation are missing.
    """
    normal = slices[0].normal()
    if normal is None:
        return None
    toward_feet = np.array(normal) * (-1.0 if normal[2] > 0 else 1.0)
    positions = [s.position_mm for s in slices]
    if None not in positions:
        return np.asarray(np.array(positions, dtype=np.float64) @ toward_feet)
    locations = [s.slice_location_mm for s in slices]
    if None in locations or any(p is not None for p in positions):
        return None
    return -np.array(locations, dtype=np.float64)


def order(slices: Sequence[SliceHeader]) -> Stack:
    """Put the slices of one volume in order.

    Raises:
        InputError: ``unordered-series``, ``mixed-series`` or ``not-axial``.
    """
    _check_alike(slices)
    places = _places(slices)
    by_place = np.argsort(places, kind="stable")
    ordered = tuple(slices[k] for k in by_place)
    places = places[by_place]
    steps = np.diff(places)
    if steps.size and steps.min() < SAME_POSITION_MM:
        at = int(np.argmin(steps))
        raise InputError(
            f"{ordered[at].path.name} and {ordered[at + 1].path.name} lie at the same place and "
            "nothing in the headers tells their volumes apart; give one volume",
            code="mixed-series",
        )
    notes: list[str] = []
    if ordered[0].position_mm is None:
        notes.append(
            "ImagePositionPatient is missing: slices are ordered by SliceLocation, taken to grow "
            "toward the head; where they lie in the patient is not known"
        )
    affine = _affine(ordered, places, notes)
    rows, cols = ordered[0].shape
    offsets = _uneven_offsets(places, notes)
    stored_shape = (cols, rows, len(ordered))
    # Without a scale the directions still tell how the slices are turned.
    axes = axis_map(_directions(ordered[0]) if affine is None else affine)
    if axes.stored_axes[0] != 2:
        raise _not_axial(ordered[0])
    if affine is None:
        return Stack(ordered, axes, None, None, tuple(notes))
    geometry = canonical_geometry(affine, stored_shape, offsets)
    return Stack(ordered, axes, geometry, spacing_of(geometry), tuple(notes))


def _check_alike(slices: Sequence[SliceHeader]) -> None:
    """Refuse slices that cannot be one volume."""
    first = slices[0]
    for one in slices:
        if one.orientation is None:
            raise InputError(
                f"{one.path.name} has no ImageOrientationPatient, so that left and right cannot be "
                "told; give the original series",
                code="unordered-series",
            )
        if one.normal() is None:
            raise InputError(
                f"ImageOrientationPatient of {one.path.name} is no pair of directions at right "
                "angles; give the original series",
                code="unordered-series",
            )
        if one.shape != first.shape:
            raise InputError(
                f"slices of {first.shape[1]}×{first.shape[0]} and {one.shape[1]}×{one.shape[0]} "
                "pixels are mixed; give one volume",
                code="mixed-series",
            )
        if not _same_orientation(first, one):
            raise InputError(
                f"{first.path.name} and {one.path.name} have different orientations; give one "
                "volume",
                code="mixed-series",
            )
        if not _same_spacing(first, one):
            raise InputError(
                f"{first.path.name} and {one.path.name} have different PixelSpacing; give one "
                "volume",
                code="mixed-series",
            )
    if not first.is_axial():
        raise _not_axial(first)


def _same_orientation(first: SliceHeader, one: SliceHeader) -> bool:
    return first.orientation == one.orientation or bool(
        np.allclose(first.orientation or (), one.orientation or (), rtol=0, atol=SAME_ORIENTATION)
    )


def _same_spacing(first: SliceHeader, one: SliceHeader) -> bool:
    if first.pixel_spacing_mm is None or one.pixel_spacing_mm is None:
        return first.pixel_spacing_mm == one.pixel_spacing_mm
    return bool(np.allclose(first.pixel_spacing_mm, one.pixel_spacing_mm, SAME_SPACING, 0))


def _not_axial(one: SliceHeader) -> InputError:
    x, y, _ = one.normal() or (0.0, 0.0, 0.0)
    plane = "sagittal" if abs(x) > abs(y) else "coronal"
    return InputError(
        f"the slices are {plane}; give the axial series of the study", code="not-axial"
    )


def _places(slices: Sequence[SliceHeader]) -> NDArray[np.float64]:
    places = projections(slices)
    if places is not None:
        if slices[0].position_mm is None and len(slices) > 1 and np.ptp(places) < SAME_POSITION_MM:
            raise InputError(
                "ImagePositionPatient is missing and SliceLocation is the same in all slices, so "
                "that they cannot be ordered; give the original series",
                code="unordered-series",
            )
        return places
    if len(slices) == 1:
        return np.zeros(1)
    lacking = next(s for s in slices if s.position_mm is None)
    raise InputError(
        f"{lacking.path.name} has no ImagePositionPatient, so that the slices cannot be ordered; "
        "give the original series",
        code="unordered-series",
    )


def _directions(one: SliceHeader) -> NDArray[np.float64]:
    """Stored (cols, rows, slices) to LPS without scale or place, (4, 4); slices toward the feet."""
    normal = np.array(one.normal())
    affine = np.eye(4)
    affine[:3, :2] = np.reshape(one.orientation or (), (2, 3)).T
    affine[:3, 2] = -normal if normal[2] > 0 else normal
    return affine


def _affine(
    ordered: tuple[SliceHeader, ...], places: NDArray[np.float64], notes: list[str]
) -> NDArray[np.float64] | None:
    """Stored index (col, row, slice) to LPS mm, (4, 4); None where the file does not say."""
    first = ordered[0]
    if first.pixel_spacing_mm is None:
        notes.append("PixelSpacing is missing: sizes and volumes are not known")
        return None
    affine = _directions(first)
    between_rows, between_cols = first.pixel_spacing_mm
    affine[:3, 0] *= between_cols
    affine[:3, 1] *= between_rows
    if first.position_mm is not None:
        affine[:3, 3] = first.position_mm
    else:
        affine[:3, 3] = affine[:3, 2] * places[0]
    if len(ordered) == 1:
        if first.thickness_mm is None:
            notes.append("a single slice without SliceThickness: its volume is not known")
            return None
        notes.append(f"a single slice: its thickness is SliceThickness, {first.thickness_mm:g} mm")
        affine[:3, 2] *= first.thickness_mm
    elif first.position_mm is None:
        affine[:3, 2] *= (places[-1] - places[0]) / (len(ordered) - 1)
    else:
        affine[:3, 2] = _step(ordered, places, affine[:3, 2], notes)
    return affine


def _step(
    ordered: tuple[SliceHeader, ...],
    places: NDArray[np.float64],
    toward_feet: NDArray[np.float64],
    notes: list[str],
) -> NDArray[np.float64]:
    """From one slice to the next in mm, (3,): the mean, so that both ends are exact."""
    positions = np.array([s.position_mm for s in ordered], dtype=np.float64)
    way = positions[-1] - positions[0]
    along = (places - places[0]) / (places[-1] - places[0])
    off = np.linalg.norm(positions - positions[0] - along[:, None] * way, axis=1)
    if off.max() > OFF_LINE_MM:
        raise InputError(
            f"{ordered[int(np.argmax(off))].path.name} lies {off.max():.1f} mm beside the line of "
            "the other slices; give one volume",
            code="mixed-series",
        )
    cosine = float(way @ toward_feet) / float(np.linalg.norm(way))
    tilt = float(np.degrees(np.arccos(min(cosine, 1.0))))
    if tilt > TILT_DEGREES:
        notes.append(
            f"gantry tilt of {tilt:.1f}°: slices are read as they are, not resampled; positions "
            "and volumes take the tilt into account"
        )
    return np.asarray(way / (len(ordered) - 1))


def _uneven_offsets(places: NDArray[np.float64], notes: list[str]) -> tuple[float, ...] | None:
    """Offsets from the first slice where they are uneven, else None; notes gaps and their place."""
    offsets = places - places[0]
    count = offsets.size
    if count < 3:
        return None
    steps = np.diff(offsets)
    usual = float(np.median(steps))
    even = np.arange(count) * (offsets[-1] / (count - 1))
    if np.abs(offsets - even).max() <= UNEVEN * usual:
        return None
    missing = np.rint(steps / usual).astype(int) - 1
    is_whole = np.abs(steps / usual - (missing + 1)).max() <= WHOLE_STEPS
    if is_whole and missing.min() >= 0:
        gaps = np.flatnonzero(missing)
        where = ", ".join(f"{missing[k]} after slice {k + 1}" for k in gaps[:SHOWN_GAPS])
        more = f" and {gaps.size - SHOWN_GAPS} further gaps" if gaps.size > SHOWN_GAPS else ""
        lost = "1 slice is" if missing.sum() == 1 else f"{missing.sum()} slices are"
        notes.append(
            f"{lost} missing among {count} of {usual:g} mm ({where}{more}, "
            "counted from the head): volumes are reckoned across the gaps"
        )
    else:
        notes.append(
            f"slice spacing varies from {steps.min():g} to {steps.max():g} mm: volumes are "
            "reckoned slice by slice"
        )
    return tuple(float(offset) for offset in offsets)
