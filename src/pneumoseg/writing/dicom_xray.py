"""Writes a film as a DICOM object: Digital X-Ray Image Storage - For Presentation.

PS3.3 A.26 (the IOD) with C.8.11.1 to C.8.11.4 (its modules). Used by the phantom; an image written
here is read back by :mod:`pneumoseg.reading` to the very same brightness.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    RE_VALID_UID,
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from pneumoseg.storage.files import whole_file

SOFTWARE = "pneumoseg (research software, not a medical device)"
IMPLEMENTATION_CLASS_UID = "2.25.160127398714526093587160281990736219417"
"""Names this writer in the file meta header (PS3.7 D.3.3.2); a fixed random UUID as 2.25 UID."""
STUDY_DATE, STUDY_TIME = "20000101", "000000"
"""Fixed, so that the same film gives the same file byte for byte."""
VIEW_CODES = {"PA": ("272479007", "postero-anterior"), "AP": ("399348003", "antero-posterior")}
"""SNOMED CT codes of the frontal views, PS3.16 CID 4010."""
CHEST_CODE = ("51185008", "Chest")
"""SNOMED CT, PS3.16 CID 4009."""


@dataclass(frozen=True)
class XrayHeader:
    """What a film's header says besides its pixels."""

    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    spacing_mm: tuple[float, float]
    """Between rows and between columns, at the detector."""
    view_position: str
    """PA or AP."""
    bits_stored: int = 12
    photometric: str = "MONOCHROME2"
    """MONOCHROME2, or MONOCHROME1 to store the film inverted."""
    software: str = SOFTWARE


def write_xray(
    path: Path, pixels: NDArray[np.uint16] | NDArray[np.uint8], header: XrayHeader
) -> None:
    """Write one film, explicit VR little endian, uncompressed, atomically.

    The file appears under ``path`` complete or not at all (temporary file, then rename); the same
    arguments give the same bytes.

    Args:
        path: the file to write; its folder must exist.
        pixels: uint8 or uint16 (rows, cols), display brightness from 0 (black) to
            ``2 ** bits_stored - 1`` (white), patient's left on the viewer's right, head up. With
            MONOCHROME1 the stored values are inverted, so that the film looks the same.
        header: identifiers, geometry and encoding.

    Raises:
        ValueError: pixels of another type or shape, a value above ``bits_stored``, a spacing that
            is not positive, an unknown view or photometric interpretation, an invalid UID.
    """
    _check(pixels, header)
    dataset = _identification(header)
    _add_acquisition(dataset, header)
    _add_pixels(dataset, pixels, header)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(header.sop_instance_uid)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    with whole_file(path) as part:
        dataset.save_as(part, enforce_file_format=True)


def _check(pixels: NDArray[np.uint16] | NDArray[np.uint8], header: XrayHeader) -> None:
    if pixels.ndim != 2 or pixels.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise ValueError(
            f"a film must be uint8 or uint16 (rows, cols), not {pixels.dtype} {pixels.shape}"
        )
    if not 1 <= header.bits_stored <= pixels.dtype.itemsize * 8:
        raise ValueError(f"bits_stored {header.bits_stored} does not fit {pixels.dtype} pixels")
    if int(pixels.max()) >= 2**header.bits_stored:
        raise ValueError(
            f"pixel value {int(pixels.max())} needs more than {header.bits_stored} bits"
        )
    if not all(np.isfinite(s) and s > 0 for s in header.spacing_mm):
        raise ValueError(f"spacings must be positive millimetres, not {header.spacing_mm}")
    if header.view_position not in VIEW_CODES:
        raise ValueError(f"view_position must be PA or AP, not {header.view_position!r}")
    if header.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(
            f"photometric must be MONOCHROME1 or MONOCHROME2, not {header.photometric!r}"
        )
    for name in ("sop_instance_uid", "study_instance_uid", "series_instance_uid"):
        uid = getattr(header, name)
        if len(uid) > 64 or not re.fullmatch(RE_VALID_UID, uid):  # PS3.5 9.1
            raise ValueError(f"{name} {getattr(header, name)!r} is not a DICOM UID")


def _identification(header: XrayHeader) -> Dataset:
    """Patient, study, series, equipment and SOP common modules; unknown type 2 values are empty."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = header.sop_instance_uid
    dataset.StudyInstanceUID = header.study_instance_uid
    dataset.SeriesInstanceUID = header.series_instance_uid
    dataset.PatientID = header.patient_id
    dataset.PatientName = f"{header.patient_id}^"
    for keyword in ("PatientBirthDate", "PatientSex", "ReferringPhysicianName", "StudyID"):
        setattr(dataset, keyword, "")
    dataset.AccessionNumber = ""
    dataset.StudyDate, dataset.StudyTime = STUDY_DATE, STUDY_TIME
    dataset.ContentDate, dataset.ContentTime = STUDY_DATE, STUDY_TIME
    dataset.AcquisitionDate, dataset.AcquisitionTime = STUDY_DATE, STUDY_TIME
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.Modality = "DX"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Manufacturer = "pneumoseg"
    dataset.SoftwareVersions = header.software[:64]  # LO holds 64 characters, PS3.5 6.2
    return dataset


def _add_acquisition(dataset: Dataset, header: XrayHeader) -> None:
    """DX anatomy, positioning and detector modules."""
    rows_mm, cols_mm = (f"{s:.6g}" for s in header.spacing_mm)
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = header.view_position
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImageLaterality = "U"  # unpaired, PS3.3 C.8.11.2
    dataset.AnatomicRegionSequence = Sequence([_code(*CHEST_CODE)])
    dataset.ViewCodeSequence = Sequence([_code(*VIEW_CODES[header.view_position])])
    dataset.AcquisitionContextSequence = Sequence()
    dataset.PositionerType = "NONE"
    dataset.DetectorType = None
    dataset.ImagerPixelSpacing = [rows_mm, cols_mm]
    dataset.PixelSpacing = [rows_mm, cols_mm]
    dataset.PixelSpacingCalibrationType = "GEOMETRY"
    dataset.PixelSpacingCalibrationDescription = "simulated, at the detector"


def _add_pixels(
    dataset: Dataset, pixels: NDArray[np.uint16] | NDArray[np.uint8], header: XrayHeader
) -> None:
    """General image, image pixel, DX image and VOI modules."""
    white = 2**header.bits_stored - 1
    inverted = header.photometric == "MONOCHROME1"
    stored = (white - pixels.astype(np.int32)).astype(pixels.dtype) if inverted else pixels
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = header.photometric
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = header.bits_stored, header.bits_stored - 1
    dataset.PixelRepresentation = 0
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if inverted else -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    # PS3.3 C.8.11.3: IDENTITY goes with MONOCHROME2, INVERSE with MONOCHROME1; it inverts once.
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    # The whole range, to the letter of C.11.2.1.2.1: value / white.
    dataset.WindowCenter, dataset.WindowWidth = str(2 ** (header.bits_stored - 1)), str(white + 1)
    data = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if pixels.dtype == np.uint8 else "OW"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item
