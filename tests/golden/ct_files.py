"""Makes CT series, enhanced CT objects and NIfTI files of one small body, at test time.

Everything starts from the body on canonical axes (slices from head to feet, rows from anterior to
posterior, columns from the patient's right to left) and its affine; a writer turns it round as the
file wants it. No two neighbouring voxels are alike, and none has its like on another side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jpeg_by_hand import lossless
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

SHAPE = (6, 64, 80)
SPACING_MM = (2.5, 0.8, 0.7)
MARK = (1, 9, 71)
"""Near the head, anterior, on the patient's left."""
MARK_HU = 1500
AFFINE = np.array(
    [[0.0, 0.0, 0.7, -30.0], [0.0, 0.8, 0.0, -25.0], [-2.5, 0.0, 0.0, 90.0], [0, 0, 0, 1.0]]
)
"""Canonical index (slice, row, col) to LPS mm."""
MARK_LPS = (-30 + 71 * 0.7, -25 + 9 * 0.8, 90 - 1 * 2.5)
STUDY, SERIES = "1.2.826.0.2.1", "1.2.826.0.2.2"
SUPINE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""ImageOrientationPatient: along a row to the patient's left, down a column to posterior."""
PRONE = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
OF_A_FRAME = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SliceLocation",
    "RescaleSlope",
    "RescaleIntercept",
)
"""What an enhanced object keeps in its functional groups."""
FEET_FIRST = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TURNED = (0.0, 1.0, 0.0, 1.0, 0.0, 0.0)
"""Rows and columns exchanged."""


def body(shape: tuple[int, int, int] = SHAPE) -> NDArray[np.int16]:
    """HU of the body, canonical axes: air that rises along each axis, and one mark."""
    s, r, c = np.indices(shape)
    hu = (-1000 + 20 * s + 3 * r + 2 * c + (7 * s + 5 * r + 3 * c) % 11).astype(np.int16)
    hu[tuple(min(m, n - 1) for m, n in zip(MARK, shape, strict=True))] = MARK_HU
    return hu


def tilted_affine(degrees: float) -> NDArray[np.float64]:
    """Gantry tilt: the slices turn about the x axis, the table still moves along z."""
    affine = AFFINE.copy()
    angle = np.radians(degrees)
    affine[:3, 1] = 0.8 * np.array([0.0, np.cos(angle), np.sin(angle)])
    return affine


def oblique_affine(degrees: float) -> NDArray[np.float64]:
    """The whole volume turned about an oblique axis: not sheared."""
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14.0)
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    affine = AFFINE.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    return affine


def ct_slice(
    stored: NDArray[np.integer],
    position: Sequence[float],
    orientation: Sequence[float] = SUPINE,
    *,
    number: int = 1,
    **tags: Any,
) -> Dataset:
    """One slice of CT Image Storage; None as a tag's value removes it."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = uid.CTImageStorage
    dataset.SOPInstanceUID = f"{SERIES}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.Modality, dataset.PatientID = "CT", "P1"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber, dataset.AcquisitionNumber = number, 1
    dataset.ImagePositionPatient = [round(float(p), 6) for p in position]
    dataset.ImageOrientationPatient = [round(float(o), 8) for o in orientation]
    dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.7], 2.5
    dataset.SliceLocation = round(float(position[2]), 6)
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    add_pixels(dataset, stored)
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def add_pixels(dataset: Dataset, stored: NDArray[np.integer]) -> None:
    """The image pixel module of (rows, cols) or, for several frames, (frames, rows, cols)."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = stored.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(np.issubdtype(stored.dtype, np.signedinteger))
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"


def stored_slices(
    hu: NDArray[np.integer],
    affine: NDArray[np.float64] = AFFINE,
    orientation: Sequence[float] = SUPINE,
) -> list[tuple[NDArray[np.integer], list[float], list[float]]]:
    """Each canonical slice as a file holds it: pixels (rows, cols), position, orientation.

    Args:
        hu: canonical (slices, rows, cols).
        affine: canonical index to LPS mm.
        orientation: one of those above, as if the affine were not oblique.
    """
    along, down = np.reshape(orientation, (2, 3))
    is_turned = along[0] == 0
    to_left = down[0] if is_turned else along[0]
    to_posterior = along[1] if is_turned else down[1]
    last_row, last_col = hu.shape[1] - 1, hu.shape[2] - 1
    row_step, col_step = affine[:3, 1] * to_posterior, affine[:3, 2] * to_left
    first = (0 if to_posterior > 0 else last_row, 0 if to_left > 0 else last_col)
    found = []
    for index, one in enumerate(hu):
        pixels = one[:: int(to_posterior), :: int(to_left)]
        steps = [col_step, row_step]
        if is_turned:
            pixels, steps = pixels.T, [row_step, col_step]
        position = affine @ [index, *first, 1]
        cosines = [list(step / np.linalg.norm(step)) for step in steps]
        found.append((np.ascontiguousarray(pixels), list(position[:3]), [*cosines[0], *cosines[1]]))
    return found


def series(
    hu: NDArray[np.integer],
    affine: NDArray[np.float64] = AFFINE,
    orientation: Sequence[float] = SUPINE,
    **tags: Any,
) -> list[Dataset]:
    """Slices from head to feet; instance numbers run the other way."""
    spacing = [float(np.linalg.norm(affine[:3, k])) for k in (1, 2)]
    if orientation is TURNED:
        spacing.reverse()
    return [
        ct_slice(
            pixels,
            position,
            directions,
            number=len(hu) - index,
            **{"PixelSpacing": [round(s, 6) for s in spacing], **tags},
        )
        for index, (pixels, position, directions) in enumerate(
            stored_slices(hu, affine, orientation)
        )
    ]


def write(path: Path, dataset: Dataset, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> Path:
    """Save a DICOM file; compressed here where the syntax asks for it."""
    if syntax == uid.JPEGLosslessSV1:
        pixels = np.frombuffer(dataset.PixelData, np.uint16)
        pixels = pixels.reshape(-1, dataset.Rows, dataset.Columns)
        dataset.PixelData = encapsulate([lossless(one, dataset.BitsStored, 1) for one in pixels])
        dataset["PixelData"].VR = "OB"
    elif syntax.is_compressed and syntax != uid.DeflatedExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == uid.ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path, slices: Sequence[Dataset], syntax: uid.UID = uid.ExplicitVRLittleEndian
) -> Path:
    """Save slices under names that say nothing of their order."""
    for index, dataset in enumerate(slices):
        write(folder / f"IM{(index * 37 + 11) % 1009:04d}", dataset, syntax)
    return folder


def enhanced(
    hu: NDArray[np.integer],
    affine: NDArray[np.float64] = AFFINE,
    orientation: Sequence[float] = SUPINE,
    *,
    frames: Sequence[int] | None = None,
    shared_orientation: bool = True,
) -> Dataset:
    """An Enhanced CT object: intercepts differ by frame, frames come in the order given."""
    found = stored_slices(hu, affine, orientation)
    chosen = list(range(len(found)))[::-1] if frames is None else list(frames)
    spacing = [float(np.linalg.norm(affine[:3, k])) for k in (1, 2)]
    stored = np.stack([((found[k][0].astype(np.int32) + 1024 + k) * 2) for k in chosen])
    dataset = ct_slice(stored[0].astype(np.uint16), (0, 0, 0))
    for keyword in OF_A_FRAME:
        delattr(dataset, keyword)
    dataset.SOPClassUID = uid.EnhancedCTImageStorage
    dataset.NumberOfFrames = len(chosen)
    add_pixels(dataset, stored.astype(np.uint16))
    measures, plane = Dataset(), Dataset()
    measures.PixelSpacing = [round(s, 6) for s in spacing[:: -1 if orientation is TURNED else 1]]
    measures.SliceThickness = 2.5
    plane.ImageOrientationPatient = [round(o, 8) for o in found[0][2]]
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    if shared_orientation:
        shared.PlaneOrientationSequence = [plane]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for k in chosen:
        place, values, content, group = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [round(float(p), 6) for p in found[k][1]]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 0.5, -1024 - k, "HU"
        content.FrameAcquisitionNumber, content.TemporalPositionIndex = 1, 1
        group.PlanePositionSequence = [place]
        group.PixelValueTransformationSequence = [values]
        group.FrameContentSequence = [content]
        if not shared_orientation:
            group.PlaneOrientationSequence = [plane]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    return dataset
