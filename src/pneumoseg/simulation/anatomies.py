"""The chests that pneumothorax is simulated in: CT volumes, single slices, phantoms.

Each becomes one :class:`Anatomy` on canonical axes: slice 0 nearest the head, rows from anterior to
posterior, columns from the patient's right to left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pneumoseg.errors import DataError, InputError
from pneumoseg.reading.nifti import open_nifti, read_label_map
from pneumoseg.simulation.lung_sides import Labels, lung_sides
from pneumoseg.simulation.scan_noise import AIR_HU, FLOOR_HU, Array, ScanNoise, measure_noise

LUNG_SUFFIX = "_lung"
PNG_OFFSET_HU = 1024
"""HU of a 16-bit slice is its value less this."""
ASSUMED_PIXEL_MM = 0.7
"""Spacing taken for pictures, which do not say theirs: a field of view of 36 cm on 512 pixels."""
LOUDEST_HU = 45.0
"""Noise in soft tissue above which a scan is quietened: about that of a low-dose sharp kernel."""
_SAME_PLACE_MM = 0.1
_AIR_TOLERANCE_HU = 50.0
_LEAST_AIR_HU = -600.0
_SMALLEST_LUNG_VOXELS = 500


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One chest without pneumothorax.

    Attributes:
        name: the unit by which parts for training and testing are made.
        source: ``lidc`` or another volume's kind, ``slices``, ``phantom``.
        hu: float32 (slices, rows, cols).
        lungs: uint8, same shape: 1 right, 2 left.
        noise: the scan's own.
        spacing_mm: between slices, rows, columns.
        affine: float64 (4, 4), index (slice, row, col, 1) to LPS mm.
        measured: whether the spacing is known rather than assumed.
        quieted: whether the scan's own noise was taken out, because there was too much of it.
    """

    name: str
    source: str
    hu: Array
    lungs: Labels
    noise: ScanNoise
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    measured: bool = True
    quieted: bool = False


def read_volume(
    ct: Path, lungs: Path, lung_labels: tuple[int, ...], slice_step: int, name: str
) -> Anatomy:
    """Read a CT volume in HU and its lung mask.

    Args:
        ct: NIfTI file in HU, any orientation.
        lungs: NIfTI label map on the same grid.
        lung_labels: which labels are lung; empty: all but 0.
        slice_step: keep every so many slices.
        name: of the anatomy.

    Raises:
        DataError: a file cannot be read, the grids differ, or there is no lung in it.
    """
    try:
        scan = open_nifti(ct, name)
        labelled = read_label_map(lungs)
    except InputError as error:
        raise DataError(f"cannot use {ct} with {lungs}: {error}") from error
    labels = labelled.labels
    if scan.shape != labels.shape or not np.allclose(
        scan.geometry.affine, labelled.geometry.affine, atol=_SAME_PLACE_MM
    ):
        raise DataError(
            f"{lungs} has {labels.shape} voxels and {ct} has {scan.shape}, not on the same places; "
            "give lungs on the grid of the CT"
        )
    mask = np.isin(labels, lung_labels) if lung_labels else labels > 0
    if int(mask.sum()) < _SMALLEST_LUNG_VOXELS:
        raise DataError(
            f"{lungs} shows no lung with labels {list(lung_labels) or 'other than 0'}; "
            f"it holds {np.unique(labels)[:40].tolist()}: name them with lung_labels"
        )
    volume = np.stack(list(scan.slices()))[::slice_step]
    affine = scan.geometry.affine @ np.diag([slice_step, 1.0, 1.0, 1.0])
    slices, rows, columns = scan.spacing_mm
    spacing_mm = (slices * slice_step, rows, columns)
    return _anatomy(name, "volumes", volume, mask[::slice_step], spacing_mm, affine)


def read_slice(picture: Path) -> Anatomy:
    """Read a 16-bit axial slice and the lung mask beside it (``NAME_lung.png``).

    Raises:
        DataError: one of the two cannot be read, or they do not fit.
    """
    mask_path = picture.with_name(f"{picture.stem}{LUNG_SUFFIX}.png")
    values = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
    mask = cv2.imread(str(mask_path), cv2.IMREAD_UNCHANGED)
    if values is None or mask is None:
        raise DataError(f"cannot read {picture if values is None else mask_path} as a PNG picture")
    if values.dtype != np.uint16 or values.ndim != 2 or values.shape != mask.shape:
        raise DataError(
            f"{picture} must be one 16-bit grey slice with a mask of its size, "
            f"not {values.dtype} {values.shape} with {mask.shape}"
        )
    hu = values.astype(np.float32)[None] - np.float32(PNG_OFFSET_HU)
    step = ASSUMED_PIXEL_MM
    affine = np.array(
        [[0, 0, step, 0], [0, step, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64
    )
    return _anatomy(
        f"slice-{picture.stem}", "slices", hu, mask[None] > 0, (1.0, step, step), affine, False
    )


def slice_pictures(folder: Path) -> tuple[Path, ...]:
    """The pictures of a folder that have a lung mask beside them, by name.

    Raises:
        DataError: there is none.
    """
    masks = sorted(folder.glob(f"*{LUNG_SUFFIX}.png")) if folder.is_dir() else []
    pictures = [p.with_name(p.name.replace(f"{LUNG_SUFFIX}.png", ".png")) for p in masks]
    found = tuple(picture for picture in pictures if picture.is_file())
    if not found:
        raise DataError(f"{folder} holds no pair NAME.png and NAME{LUNG_SUFFIX}.png")
    return found


def calibrated_to_air(hu: Array) -> Array:
    """Bring a scan to the scale on which water is 0 and air is -1000.

    Some public slices were stored on a squeezed scale (air at -800). The air around the patient
    tells; where it reads -1000 within 50 HU, or none is seen, nothing is changed.
    """
    body = np.stack([cv2.GaussianBlur(part, (0, 0), 2.0) for part in hu]) > -400
    body = np.stack([ndimage.binary_fill_holes(part) for part in body])
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (31, 31))
    outside = np.stack([cv2.dilate(part.astype(np.uint8), disc) == 0 for part in body])
    air = hu[outside & (hu > FLOOR_HU)]
    if air.size < _SMALLEST_LUNG_VOXELS:
        return hu
    value = float(np.median(air))
    if abs(value - AIR_HU) <= _AIR_TOLERANCE_HU or not AIR_HU < value < _LEAST_AIR_HU:
        return hu
    scaled = np.maximum(hu * np.float32(AIR_HU / value), np.float32(FLOOR_HU))
    return np.asarray(scaled, dtype=np.float32)


def _anatomy(
    name: str,
    source: str,
    hu: Array,
    lungs: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    affine: NDArray[np.float64],
    measured: bool = True,
) -> Anatomy:
    hu = calibrated_to_air(np.maximum(hu, np.float32(FLOOR_HU)))
    labels = lung_sides(hu, lungs)
    noise = measure_noise(hu, labels > 0)
    too_loud = noise.soft_sigma_hu > LOUDEST_HU
    if too_loud:
        hu = quieted(hu, noise.soft_sigma_hu)
        labels = lung_sides(hu, lungs)
        noise = measure_noise(hu, labels > 0)
    return Anatomy(name, source, hu, labels, noise, spacing_mm, affine, measured, too_loud)


def quieted(hu: Array, sigma_hu: float) -> Array:
    """Take most of the noise out of a scan by non-local means (Buades et al., CVPR 2005).

    Some public slices carry uniform white noise of 70 to 90 HU that no scanner makes; air that is
    drawn in would be cut off at the lowest HU as no real air is. New noise is added later.

    Args:
        hu: float32 (slices, rows, cols).
        sigma_hu: standard deviation of the noise.
    """
    lowest = np.float32(FLOOR_HU - 100)
    quiet = [
        cv2.fastNlMeansDenoising(
            np.clip(part - lowest, 0, np.iinfo(np.uint16).max).astype(np.uint16),
            h=[float(sigma_hu)],
            templateWindowSize=5,
            searchWindowSize=17,
            normType=cv2.NORM_L1,
        )
        for part in hu
    ]
    return np.asarray(np.stack(quiet).astype(np.float32) + lowest, dtype=np.float32)
