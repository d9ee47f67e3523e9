"""Lesions of a volume: 26-connected components of the predicted mask.

Each lesion is kept cropped to its own box. Components are found run of slices by run of slices
(none reaches across a slice without a mask), so that memory follows the predicted mask and not the
length of the series.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import cc3d
import numpy as np
from numpy.typing import NDArray

from pneumoseg.ct.measure import greatest_thickness_mm, voxel_volumes_ml
from pneumoseg.ct.slice_masks import Box, SliceMasks
from pneumoseg.study import Geometry, Side

CONNECTIVITY: Final = 26
"""Voxels that touch at a corner belong together: pleura runs obliquely through thick slices."""


@dataclass(frozen=True, eq=False)
class VolumeLesion:
    """One lesion of a volume.

    Attributes:
        box: where it lies in the volume (slices, rows, cols).
        inside: bool, of the box's shape.
        score: mean probability inside it, in [0, 1].
        side: the patient's side on which most of it lies; None where it is half and half.
        volume_ml: None where the spacing is not known.
        greatest_thickness_mm: of :func:`pneumoseg.ct.measure.greatest_thickness_mm`; None likewise.
    """

    box: Box
    inside: NDArray[np.bool_]
    score: float
    side: Side | None
    volume_ml: float | None
    greatest_thickness_mm: float | None

    @property
    def voxels(self) -> int:
        """How many voxels it has."""
        return int(np.count_nonzero(self.inside))

    @property
    def first_slice(self) -> int:
        """Index of the first slice it is in, from 0."""
        return int(self.box[0].start)

    @property
    def last_slice(self) -> int:
        """Index of the last slice it is in."""
        return int(self.box[0].stop) - 1


@dataclass(frozen=True)
class Smallest:
    """The smallest lesion kept: in mL where the spacing is known, else in pixels.

    Attributes:
        volume_ml: lesions of less are dropped.
        area_px: without spacing, a lesion must have so many pixels in one of its slices.
    """

    volume_ml: float
    area_px: float


def find_volume_lesions(
    masks: SliceMasks,
    *,
    smallest: Smallest,
    midlines: NDArray[np.float64],
    spacing_mm: tuple[float, float, float] | None,
    geometry: Geometry | None,
) -> tuple[VolumeLesion, ...]:
    """Split the predicted mask into lesions.

    Args:
        masks: of all slices.
        smallest: which components are dropped.
        midlines: float64 (slices,), the column at which left begins in each slice.
        spacing_mm: of the volume, None where it is not known.
        geometry: of the volume, None where it is not known.

    Returns:
        Largest first (by volume, else by voxels; then from the head down). They are disjoint.
    """
    voxel_ml = voxel_volumes_ml(masks.shape[0], spacing_mm, geometry)
    found = [
        lesion
        for start, stop in masks.runs()
        for lesion in _components(masks, (start, stop), smallest, midlines, voxel_ml, spacing_mm)
    ]
    return tuple(
        sorted(
            found,
            key=lambda lesion: (
                -(lesion.voxels if lesion.volume_ml is None else lesion.volume_ml),
                lesion.first_slice,
                lesion.box[1].start,
                lesion.box[2].start,
            ),
        )
    )


def lesion_plane(
    lesions: Iterable[VolumeLesion], index: int, shape: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """The lesions in one slice united, bool (rows, cols)."""
    plane = np.zeros(shape[1:], dtype=np.bool_)
    for lesion in lesions:
        if lesion.first_slice <= index <= lesion.last_slice:
            plane[lesion.box[1:]] |= lesion.inside[index - lesion.first_slice]
    return plane


def _components(  # noqa: PLR0913 -- one volume's facts, each used on its own
    masks: SliceMasks,
    run: tuple[int, int],
    smallest: Smallest,
    midlines: NDArray[np.float64],
    voxel_ml: NDArray[np.float64] | None,
    spacing_mm: tuple[float, float, float] | None,
) -> Iterator[VolumeLesion]:
    """Lesions of one run of slices."""
    (slices, rows, cols), mask = masks.unpack(*run)
    labels, count = cc3d.connected_components(mask, connectivity=CONNECTIVITY, return_N=True)
    del mask
    boxes = cc3d.statistics(labels)["bounding_boxes"]
    scores = masks.mean_probabilities(run[0], labels, count)
    for label in range(1, count + 1):
        part = tuple(slice(int(s.start), int(s.stop)) for s in boxes[label])
        inside = labels[part] == label
        areas = np.count_nonzero(inside, axis=(1, 2))
        box = (
            slice(slices.start + part[0].start, slices.start + part[0].stop),
            slice(rows.start + part[1].start, rows.start + part[1].stop),
            slice(cols.start + part[2].start, cols.start + part[2].stop),
        )
        volume = None if voxel_ml is None else float(areas @ voxel_ml[box[0]])
        if volume is None:
            is_small = float(areas.max()) < smallest.area_px
        else:
            is_small = volume < smallest.volume_ml
        if is_small:
            continue
        yield VolumeLesion(
            box=box,
            inside=inside,
            score=float(scores[label]),
            side=_side(inside, box, midlines),
            volume_ml=volume,
            greatest_thickness_mm=(
                None if spacing_mm is None else greatest_thickness_mm(inside, spacing_mm)
            ),
        )


def _side(inside: NDArray[np.bool_], box: Box, midlines: NDArray[np.float64]) -> Side | None:
    """The side on which most voxels lie; columns run from the patient's right to left."""
    by_column = np.count_nonzero(inside, axis=1)  # (slices, cols)
    beyond = np.arange(box[2].start, box[2].stop)[None, :] - midlines[box[0], None]
    left, right = int(by_column[beyond > 0].sum()), int(by_column[beyond < 0].sum())
    if left == right:
        return None
    return Side.LEFT if left > right else Side.RIGHT
