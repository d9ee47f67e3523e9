"""What is no frontal chest X-ray is refused with its code; what may be one is read."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_files import RAMP, film, write
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pneumoseg.errors import InputError
from pneumoseg.reading import read


def code_of(tmp_path, dataset):
    try:
        read(write(tmp_path / "film.dcm", dataset))
    except InputError as error:
        assert str(error) and "\n" not in str(error)
        return error.code
    return "read"


def coded(value):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "a view"
    return Sequence([item])


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({}, "read"),
        ({"Modality": "DX"}, "read"),
        ({"Modality": "OT", "SOPClassUID": uid.SecondaryCaptureImageStorage}, "read"),
        ({"Modality": None, "BodyPartExamined": None, "ViewPosition": None}, "read"),
        ({"Modality": "CT"}, "not-an-xray"),
        ({"Modality": "MR"}, "not-an-xray"),
        ({"Modality": "US", "NumberOfFrames": 3}, "not-an-xray"),
        ({"Modality": None, "SOPClassUID": uid.CTImageStorage}, "not-an-xray"),
        ({"Modality": "MG"}, "not-a-chest"),
        ({"Modality": "SEG"}, "not-an-image"),
        ({"NumberOfFrames": 2}, "multi-frame"),
        ({"NumberOfFrames": 1}, "read"),
        ({"ViewPosition": "LL"}, "lateral-view"),
        ({"ViewPosition": "LATERAL"}, "lateral-view"),
        ({"ViewPosition": "LLD"}, "read"),  # left lateral decubitus is a frontal film
        ({"ViewPosition": "", "ViewCodeSequence": coded("399173006")}, "lateral-view"),
        ({"ViewPosition": "", "ViewCodeSequence": coded("272479007")}, "read"),
        ({"ViewPosition": "", "PatientOrientation": ["A", "F"]}, "lateral-view"),
        ({"ViewPosition": "", "PatientOrientation": ["P", "F"]}, "lateral-view"),
        ({"ViewPosition": "", "PatientOrientation": ["L", "F"]}, "read"),
        ({"ViewPosition": "", "SeriesDescription": "CHEST LATERAL"}, "lateral-view"),
        ({"ViewPosition": "", "SeriesDescription": "Thorax_LAT"}, "lateral-view"),
        ({"ViewPosition": "", "SeriesDescription": "CHEST PA AND LAT"}, "read"),
        ({"ViewPosition": "PA", "SeriesDescription": "CHEST LATERAL"}, "read"),
        ({"ViewPosition": "", "SeriesDescription": "bilateral"}, "read"),
        ({"BodyPartExamined": "HAND"}, "not-a-chest"),
        ({"BodyPartExamined": "ABDOMEN"}, "not-a-chest"),
        ({"BodyPartExamined": "TSPINE"}, "not-a-chest"),
        ({"BodyPartExamined": "CHEST ABDOMEN"}, "read"),
        ({"BodyPartExamined": ""}, "read"),
        ({"BodyPartExamined": "PORT"}, "read"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour-image"),
        ({"PhotometricInterpretation": "HSV"}, "unsupported-pixels"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "unsupported-pixels"),
        ({"Rows": 20001}, "too-large"),
        ({"Rows": 19000, "Columns": 19000}, "too-large"),
        ({"Rows": 63}, "too-small"),
        ({"Rows": 0}, "damaged"),
        ({"Rows": 65}, "truncated"),
        ({"Rows": None}, "damaged"),
        ({"PixelData": None}, "truncated"),
        ({"PixelData": None, "Rows": None, "Columns": None, "Modality": "SR"}, "not-an-image"),
        ({"PixelData": None, "Rows": None, "Columns": None, "Modality": None}, "not-an-image"),
    ],
)
def test_tags_decide(tmp_path, tags, code):
    assert code_of(tmp_path, film(RAMP, bits=12, **tags)) == code


def test_dicomdir_is_named_as_such(tmp_path):
    dataset = film(RAMP, bits=12, SOPClassUID="1.2.840.10008.1.3.10", Modality=None)
    assert code_of(tmp_path, dataset) == "dicomdir"


def test_floating_point_pixels_are_refused(tmp_path):
    dataset = film(RAMP, bits=12, PixelData=None)
    dataset.FloatPixelData = np.zeros(64 * 80, dtype=np.float32).tobytes()
    assert code_of(tmp_path, dataset) == "unsupported-pixels"


def test_grey_stored_as_colour_is_read_and_colour_is_not(tmp_path):
    grey = np.repeat((RAMP // 8).astype(np.uint8)[..., None], 3, axis=2)
    image = read(write(tmp_path / "grey.dcm", film(grey)))
    assert np.abs(image.pixels - RAMP // 8 / 255).max() < 1e-6
    colours = grey.copy()
    colours[30:40, 30:40, 0] += 20
    assert code_of(tmp_path, film(colours)) == "colour-image"


@pytest.mark.parametrize(
    ("tags", "expected", "note"),
    [
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.3]}, (0.2, 0.1), ""),
        ({"ImagerPixelSpacing": [0.3, 0.25]}, (0.3, 0.25), "at the detector"),
        ({"NominalScannedPixelSpacing": [0.4, 0.4]}, (0.4, 0.4), "scanned film"),
        ({"PixelSpacing": [0, 0]}, None, "PixelSpacing"),
        ({"PixelSpacing": [-1, 1]}, None, "PixelSpacing"),
        ({}, None, ""),
    ],
)
def test_spacing_is_read_never_guessed(tmp_path, tags, expected, note):
    image = read(write(tmp_path / "film.dcm", film(RAMP, bits=12, **tags)))
    assert image.spacing_mm == expected
    assert note in " ".join(image.source.notes) and bool(note) == bool(image.source.notes)


def test_origin_is_kept(tmp_path):
    image = read(write(tmp_path / "film.dcm", film(RAMP, bits=12, PatientOrientation=["L", "F"])))
    source = image.source
    assert source.image_id == source.sop_instance_uid == "1.2.826.0.1.1"
    assert (source.study_instance_uid, source.series_instance_uid) == (
        "1.2.826.0.1.2",
        "1.2.826.0.1.3",
    )
    assert (source.patient_id, source.view_position) == ("P1", "PA")
    assert source.patient_orientation == ("L", "F") and source.path == tmp_path / "film.dcm"


def test_an_id_that_is_a_path_is_not_used(tmp_path):
    """Ids become file names: a hostile UID must not leave the output folder."""
    path = write(tmp_path / "film.dcm", film(RAMP, bits=12))
    content = path.read_bytes().replace(b"1.2.826.0.1.1", b"../../../evil")
    path.write_bytes(content)
    image = read(path)
    assert image.source.image_id == "film" and "malformed" in " ".join(image.source.notes)
