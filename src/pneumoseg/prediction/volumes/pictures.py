"""Montage and three planes of a finding: the slices are read once more, one at a time.

Reading again keeps memory bounded: of each slice only what is drawn is kept, a row for the coronal
and a column for the sagittal plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg.ct.finding import VolumeFinding
from pneumoseg.ct.lesions import lesion_plane
from pneumoseg.study import Volume
from pneumoseg.writing.montage import Plane, spread, write_montage, write_planes
from pneumoseg.writing.tables import printable


@dataclass(frozen=True)
class Cut:
    """Where the three planes lie: slice, row and column."""

    slice: int
    row: int
    col: int


def write_pictures(montage: Path, planes: Path, volume: Volume, finding: VolumeFinding) -> None:
    """Write both pictures; a single slice has no three planes.

    Args:
        montage: file for the suspected slices; the most suspicious one where none is.
        planes: file for axial, coronal and sagittal through the largest lesion; through the middle
            of the most suspicious slice where there is none.
        volume: the one the finding is about.
        finding: its result.

    Raises:
        InputError: a slice can no longer be read.
        OSError: a file cannot be written.
    """
    cut = cut_through(finding)
    suspected = np.flatnonzero(finding.segmented)
    shown = [int(suspected[k]) for k in spread(suspected.size)] or [cut.slice]
    slices, rows, cols = finding.shape
    kept: dict[int, NDArray[np.float32]] = {}
    coronal, sagittal = np.empty((slices, cols), np.float32), np.empty((slices, rows), np.float32)
    for index, hu in enumerate(volume.slices()):
        coronal[index], sagittal[index] = hu[cut.row], hu[:, cut.col]
        if index in shown or index == cut.slice:
            kept[index] = hu
    steps = finding.spacing_mm or (1.0, 1.0, 1.0)
    caption = _caption(finding)
    tiles = [_axial(finding, index, kept[index], steps) for index in shown]
    write_montage(montage, tiles, caption)
    if slices > 1:
        write_planes(
            planes,
            _axial(finding, cut.slice, kept[cut.slice], steps),
            Plane(coronal, _coronal_mask(finding, cut.row), (steps[0], steps[2]), "coronal"),
            Plane(sagittal, _sagittal_mask(finding, cut.col), (steps[0], steps[1]), "sagittal"),
            caption,
        )


def cut_through(finding: VolumeFinding) -> Cut:
    """The voxel nearest the middle of the largest lesion, in the slice where it is largest."""
    slices, rows, cols = finding.shape
    if not finding.lesions:
        return Cut(int(np.argmax(finding.slice_probabilities)), rows // 2, cols // 2)
    lesion = finding.lesions[0]
    within = int(np.argmax(np.count_nonzero(lesion.inside, axis=(1, 2))))
    places = np.argwhere(lesion.inside[within])
    distances = np.linalg.norm(places - places.mean(axis=0), axis=1)
    row, col = places[int(np.argmin(distances))]
    return Cut(
        lesion.first_slice + within,
        lesion.box[1].start + int(row),
        lesion.box[2].start + int(col),
    )


def _axial(
    finding: VolumeFinding,
    index: int,
    hu: NDArray[np.float32],
    steps: tuple[float, float, float],
) -> Plane:
    label = f"{index + 1}/{finding.shape[0]}  p {finding.slice_probabilities[index]:.2f}"
    mask = lesion_plane(finding.lesions, index, finding.shape)
    return Plane(hu, mask, (steps[1], steps[2]), label)


def _coronal_mask(finding: VolumeFinding, row: int) -> NDArray[np.bool_]:
    slices, _, cols = finding.shape
    mask = np.zeros((slices, cols), dtype=np.bool_)
    for lesion in finding.lesions:
        if lesion.box[1].start <= row < lesion.box[1].stop:
            mask[lesion.box[0], lesion.box[2]] |= lesion.inside[:, row - lesion.box[1].start]
    return mask


def _sagittal_mask(finding: VolumeFinding, col: int) -> NDArray[np.bool_]:
    slices, rows, _ = finding.shape
    mask = np.zeros((slices, rows), dtype=np.bool_)
    for lesion in finding.lesions:
        if lesion.box[2].start <= col < lesion.box[2].stop:
            mask[lesion.box[0], lesion.box[1]] |= lesion.inside[:, :, col - lesion.box[2].start]
    return mask


def _caption(finding: VolumeFinding) -> list[str]:
    """Lines that tell what was found."""
    detection = finding.detection
    decision = "suspected" if detection.positive else "not suspected"
    lines = [
        printable(finding.source.image_id),
        f"Probability {detection.probability:.2f}, threshold {detection.threshold:.2f}: {decision}",
    ]
    if not finding.segmented.any():
        lines.append("Not segmented")
    elif not finding.lesions:
        lines.append("No lesion outlined")
    else:
        size = (
            f"{finding.voxels} px" if finding.volume_ml is None else f"{finding.volume_ml:.0f} mL"
        )
        plural = "" if len(finding.lesions) == 1 else "s"
        side = "" if finding.side is None else f" {finding.side}"
        lines.append(f"{len(finding.lesions)} lesion{plural}{side}, {size} (orange)")
    return lines
