"""Decides by its tags whether a DICOM object is a frontal chest X-ray.

Blank tags are accepted: many films carry none. What contradicts is refused with a code. Lists are
from DICOM PS3.3 C.7.3.1.1.1 (Modality), PS3.16 Annex L (body parts) and CID 4010 (views).
"""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from pneumoseg.errors import InputError
from pneumoseg.reading.dicom.fence import items, text, texts, whole


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
