"""A DICOM file to a film: header, acceptance, pixels, display, and where it came from.

Whether an object is a frontal chest X-ray is decided by its tags. Blank ones are accepted: many
films carry none. What contradicts is refused with a code. Lists are from DICOM PS3.3 C.7.3.1.1.1
(Modality), PS3.16 Annex L (body parts) and CID 4010 (views).
"""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pneumoseg.errors import InputError
from pneumoseg.reading.decoding import quiet
from pneumoseg.reading.dicom.display import display
from pneumoseg.reading.dicom.fence import fenced_dicom, items, numbers, text, texts, whole
from pneumoseg.reading.dicom.pixels import decode
from pneumoseg.study import Image, Source, Units

MAX_INFLATED_BYTES = 1 << 30
"""What a deflated data set may grow to; deflate shrinks zeros a thousandfold."""
MAX_NOTES = 8
USABLE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
"""A UID has digits and dots; letters are met. An id becomes a file name, so a path is refused."""
_TELLING = ["SOPClassUID", "Modality", "Rows", "DirectoryRecordSequence"]
_META_OFFSET = 132
"""Preamble and ``DICM``; the group length element of 12 bytes follows, PS3.10 7.1."""


def _words(line: str) -> frozenset[str]:
    return frozenset(line.split())


XRAY_MODALITIES = frozenset({"", "CR", "DX", "DR", "RG", "RF", "XR", "OT", "SC", "HC", "XC"})
"""Projection X-ray, and what secondary captures call themselves; blank is accepted."""
OTHER_XRAY_MODALITIES = {"MG": "a mammogram", "PX": "a dental panorama", "IO": "a dental film"}
NO_IMAGE_MODALITIES = _words(
    "SR KO PR DOC SEG REG RTSTRUCT RTPLAN RTRECORD RTDOSE AU ECG EPS HD PLAN FID RWV SMR ASMT "
    "STAIN M3D ANN RESP"
)
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
_IMAGE_STORAGE_PREFIX = "1.2.840.10008.5.1.4.1.1."
OTHER_IMAGE_CLASSES = {
    "2": "CT",
    "2.1": "CT",
    "2.2": "CT",
    "3.1": "ultrasound",
    "4": "MR",
    "4.1": "MR",
    "6.1": "ultrasound",
    "6.2": "ultrasound",
    "20": "nuclear medicine",
    "128": "PET",
    "130": "PET",
}
"""SOP classes (PS3.4 B.5, without the common root) that are no X-ray whatever Modality says."""
LATERAL_VIEWS = frozenset({"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LLATERAL", "RLATERAL"})
"""LLD and RLD are not among them: decubitus films are frontal."""
FRONTAL_VIEWS = frozenset({"PA", "AP", "LLD", "RLD"})
LATERAL_CODES = frozenset(
    {"399173006", "399198007", "399067008", "399352003", "399260004", "R-10236", "R-10232"}
)
"""Left lateral, right lateral, lateral, lateral-medial, medial-lateral: SNOMED CT and SRT."""
_LATERAL_WORD = re.compile(r"\b(lateral|lat|ll|seitlich|profil|laterale)\b", re.IGNORECASE)
_FRONTAL_WORD = re.compile(r"\b(pa|ap|p\.a|a\.p|frontal|decubitus|decub)\b", re.IGNORECASE)
CHEST_WORDS = ("CHEST", "THORAX", "TORAX", "LUNG", "RIB", "HEART", "CLAVICLE", "STERNUM")
OTHER_PARTS = _words(
    "ABDOMEN PELVIS SKULL HEAD NECK HAND WRIST FINGER THUMB FOREARM ELBOW HUMERUS ARM SHOULDER HIP "
    "FEMUR THIGH KNEE PATELLA LEG ANKLE FOOT TOE CALCANEUS HEEL CSPINE TSPINE LSPINE SPINE SSPINE "
    "COCCYX SACRUM JAW MANDIBLE MAXILLA TEETH TOOTH SINUS NOSE ORBIT FACE FACIAL BREAST BLADDER "
    "KIDNEY COLON STOMACH ABDOMENPELVIS EXTREMITY TIBIA FIBULA TIBFIB RADIUS ULNA TMJ ZYGOMA "
    "CERVICALSPINE THORACICSPINE LUMBARSPINE SCAPULA UPPERARM LOWERLEG UPPERLEG LEGS WHOLEBODY "
    "GALLBLADDER ESOPHAGUS UTERUS PROSTATE AORTA EYE EAR BRAIN NASALBONE"
)


def read_dicom(content: bytes, path: Path) -> Image:
    """Read a frontal chest X-ray.

    Args:
        content: the whole file, with or without preamble and meta header.
        path: where it came from.

    Returns:
        Unit-interval pixels (rows, cols); see :func:`pneumoseg.reading.dicom.display.display` for
        the brightness. ``image_id`` is the SOPInstanceUID, where it is missing the file's stem.

    Raises:
        InputError: with one of the codes of :mod:`pneumoseg.reading`.
    """
    notes: list[str] = []
    with quiet() as messages:
        dataset = parse(content)
        check_kind(dataset)
        check_chest(dataset, notes)
        check_frontal(dataset, notes)
        stored = decode(dataset, notes)
        pixels = display(stored, dataset, notes)
        spacing_mm = _spacing(dataset, notes)
        if text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING":
            notes.append("raw detector data (FOR PROCESSING): the contrast is not that of a film")
        source = _source(dataset, path, notes, messages)
    return Image(pixels=pixels, units=Units.UNIT_INTERVAL, spacing_mm=spacing_mm, source=source)


def parse(content: bytes) -> Dataset:
    """Parse a whole file, with or without preamble and meta header.

    Raises:
        InputError: ``damaged``, ``truncated`` or ``too-large``.
    """
    _check_inflated_size(content)
    with fenced_dicom("the DICOM header cannot be read"):
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        has_elements = len(dataset) > 0
    if not has_elements:
        raise InputError("the file ends within its DICOM header", code="truncated")
    return dataset


def is_other_than_ct(path: Path, head: bytes) -> bool:
    """Whether a DICOM file surely is an image of another modality than CT, by a few of its tags.

    Args:
        path: the file.
        head: its first bytes.

    Returns:
        False also where it cannot be told so easily: of a deflated file, a report, an index.

    Raises:
        InputError: ``damaged``.
    """
    if DeflatedExplicitVRLittleEndian.encode() in head:
        return False
    with fenced_dicom("the DICOM header cannot be read"), path.open("rb") as file:
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TELLING)
    with quiet():
        return is_other_image(dataset)


def _check_inflated_size(content: bytes) -> None:
    """Refuse a deflate bomb before pydicom inflates it in one go."""
    meta_length = int.from_bytes(content[_META_OFFSET + 8 : _META_OFFSET + 12], "little")
    start = _META_OFFSET + 12 + meta_length
    if DeflatedExplicitVRLittleEndian.encode() not in content[:start]:
        return
    with fenced_dicom("the deflated data set cannot be read"):
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflater.decompress(content[start:], MAX_INFLATED_BYTES)
        is_larger = bool(inflater.unconsumed_tail)
        is_cut = not inflater.eof and not is_larger
    if is_larger:
        raise InputError(
            f"the file inflates to more than {MAX_INFLATED_BYTES >> 20} MiB", code="too-large"
        )
    if is_cut:
        raise InputError(
            "the file ends within its deflated data; copy it again from its origin",
            code="truncated",
        )


def _spacing(dataset: Dataset, notes: list[str]) -> tuple[float, float] | None:
    """Millimetres between rows and between columns, PS3.3 10.7.1 and C.8.11.4; None if unknown."""
    for keyword, remark in (
        ("PixelSpacing", ""),
        ("ImagerPixelSpacing", "spacing is that at the detector (ImagerPixelSpacing)"),
        ("NominalScannedPixelSpacing", "spacing is that of the scanned film"),
    ):
        spacing = numbers(dataset, keyword)
        if not spacing:
            continue
        if len(spacing) != 2 or min(spacing) <= 0:
            notes.append(f"{keyword} {[round(s, 6) for s in spacing[:3]]} is unusable: ignored")
            continue
        if remark:
            notes.append(remark)
        return spacing[0], spacing[1]
    return None


def _source(dataset: Dataset, path: Path, notes: list[str], messages: list[str]) -> Source:
    meta = getattr(dataset, "file_meta", Dataset())
    sop_instance_uid = text(dataset, "SOPInstanceUID") or text(meta, "MediaStorageSOPInstanceUID")
    is_usable = USABLE_ID.fullmatch(sop_instance_uid) is not None
    if not is_usable:
        notes.append("SOPInstanceUID is missing or malformed: the file's name is the image's id")
    orientation = texts(dataset, "PatientOrientation")
    is_oriented = len(orientation) == 2 and all(orientation)
    return Source(
        image_id=sop_instance_uid if is_usable else path.stem,
        path=path,
        sop_instance_uid=sop_instance_uid or None,
        series_instance_uid=text(dataset, "SeriesInstanceUID") or None,
        study_instance_uid=text(dataset, "StudyInstanceUID") or None,
        patient_id=text(dataset, "PatientID") or None,
        view_position=text(dataset, "ViewPosition").upper() or None,
        patient_orientation=(orientation[0], orientation[1]) if is_oriented else None,
        notes=tuple(dict.fromkeys(notes + messages))[:MAX_NOTES],
    )


def check_kind(dataset: Dataset) -> None:
    """Refuse what is no single-frame X-ray image.

    Raises:
        InputError: ``dicomdir``, ``not-an-image``, ``not-an-xray``, ``not-a-chest`` (a mammogram, a
            dental film), ``multi-frame`` or ``unsupported-pixels``.
    """
    sop_class, modality = text(dataset, "SOPClassUID"), text(dataset, "Modality").upper()
    if sop_class == DICOMDIR_CLASS or "DirectoryRecordSequence" in dataset:
        raise InputError(
            "this is a DICOMDIR, the index of a medium; give the folder with its images",
            code="dicomdir",
        )
    if modality in NO_IMAGE_MODALITIES or _has_no_image(dataset):
        if modality and modality in XRAY_MODALITIES:
            raise InputError(
                "the file ends within its header; copy it again from its origin", code="truncated"
            )
        kind = f"modality {modality[:16]!r}" if modality else "a DICOM object"
        raise InputError(
            f"this is {kind} and holds no image; give the film itself", code="not-an-image"
        )
    other = OTHER_IMAGE_CLASSES.get(sop_class.removeprefix(_IMAGE_STORAGE_PREFIX), "")
    if modality in OTHER_XRAY_MODALITIES:
        raise InputError(
            f"this is {OTHER_XRAY_MODALITIES[modality]}; a chest X-ray is expected",
            code="not-a-chest",
        )
    if other or modality not in XRAY_MODALITIES:
        raise InputError(
            f"this is {other or f'modality {modality[:16]!r}'}; a chest X-ray (CR, DX) is expected",
            code="not-an-xray",
        )
    frames = whole(dataset, "NumberOfFrames")
    if frames is not None and frames > 1:
        raise InputError(f"the object has {frames} frames; a film has one", code="multi-frame")
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise InputError(
            "floating-point pixels are not read; 8 to 16 bit whole numbers are expected",
            code="unsupported-pixels",
        )


def is_other_image(dataset: Dataset) -> bool:
    """Whether it is an image (not a report, not an index), and not one of CT."""
    sop_class, modality = text(dataset, "SOPClassUID"), text(dataset, "Modality").upper()
    is_index = sop_class == DICOMDIR_CLASS or "DirectoryRecordSequence" in dataset
    kind = OTHER_IMAGE_CLASSES.get(sop_class.removeprefix(_IMAGE_STORAGE_PREFIX), modality)
    has_image = modality not in NO_IMAGE_MODALITIES and whole(dataset, "Rows") is not None
    return has_image and not is_index and "CT" not in (kind, modality)


def _has_no_image(dataset: Dataset) -> bool:
    return not any(
        k in dataset for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    ) and ("Rows" not in dataset and "Columns" not in dataset)


def check_chest(dataset: Dataset, notes: list[str]) -> None:
    """Refuse another part of the body; a word that is in no list is accepted with a note.

    Raises:
        InputError: ``not-a-chest``.
    """
    part = text(dataset, "BodyPartExamined")
    letters = re.sub(r"[^A-Z]", "", part.upper())
    if not letters or any(word in letters for word in CHEST_WORDS):
        return
    words = re.sub(r"[^A-Z]", " ", part.upper()).split()
    if letters in OTHER_PARTS or any(word in OTHER_PARTS for word in words):
        raise InputError(
            f"BodyPartExamined is {part[:32]!r}; a chest is expected", code="not-a-chest"
        )
    notes.append(f"BodyPartExamined {part[:32]!r} is unknown: taken for a chest")


def check_frontal(dataset: Dataset, notes: list[str]) -> None:
    """Refuse a side view, by the first of these that says something.

    ViewPosition, ViewCodeSequence, PatientOrientation (A or P along the rows), then the words of
    SeriesDescription.

    Raises:
        InputError: ``lateral-view``.
    """
    view = re.sub(r"[^A-Z]", "", text(dataset, "ViewPosition").upper())
    if view in FRONTAL_VIEWS:
        return
    if view in LATERAL_VIEWS:
        raise _lateral(f"ViewPosition is {view}")
    for item in items(dataset, "ViewCodeSequence"):
        if text(item, "CodeValue") in LATERAL_CODES:
            raise _lateral(f"ViewCodeSequence says {text(item, 'CodeMeaning')[:32] or 'lateral'}")
    orientation = texts(dataset, "PatientOrientation")
    if orientation and orientation[0][:1].upper() in ("A", "P"):
        raise _lateral(f"PatientOrientation is {'/'.join(orientation)[:16]}")
    description = text(dataset, "SeriesDescription").replace("_", " ")
    if _LATERAL_WORD.search(description):
        if not _FRONTAL_WORD.search(description):
            raise _lateral(f"SeriesDescription is {description[:32]!r}")
        notes.append(f"SeriesDescription {description[:32]!r} names two views: taken for frontal")


def _lateral(reason: str) -> InputError:
    return InputError(f"{reason}; a frontal view (PA or AP) is expected", code="lateral-view")
