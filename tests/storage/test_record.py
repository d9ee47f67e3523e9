"""Records to lines and back: to the letter, from older lines, and what is wrong with its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pneumoseg.errors import DataError
from pneumoseg.storage.record import (
    FindingRecord,
    LesionInSlice,
    LesionRecord,
    SliceRecord,
    VolumeLesionRecord,
    VolumeRecord,
    from_json,
    numbered_records,
    read_records,
)

FILM = FindingRecord(
    image_id="1.2",
    path="a.dcm",
    shape=(4, 6),
    spacing_mm=(0.5, 0.5),
    patient_orientation=("L", "F"),
    logit=-1.25,
    probability=0.6,
    positive=True,
    classifier_threshold=0.35,
    segmenter_threshold=0.5,
    segmented=True,
    area_px=4,
    area_mm2=1.0,
    lesions=(LesionRecord(area_px=4, area_mm2=1.0, score=0.75, side="left", rle="0 2 2 2"),),
    rle="0 2 2 2",
    seconds=0.1235,
    bundle="cxr",
    bundle_version="1",
    software_version="0.1.0",
    runtime="openvino",
    precision="f32",
    notes=("ä",),
)
FILM_LINE = (
    '{"image_id":"1.2","path":"a.dcm","shape":[4,6],"spacing_mm":[0.5,0.5],'
    '"patient_orientation":["L","F"],"logit":-1.25,"probability":0.6,"positive":true,'
    '"classifier_threshold":0.35,"segmenter_threshold":0.5,"segmented":true,"area_px":4,'
    '"area_mm2":1.0,"lesions":[{"area_px":4,"area_mm2":1.0,"score":0.75,"side":"left",'
    '"rle":"0 2 2 2"}],"rle":"0 2 2 2","seconds":0.1235,"bundle":"cxr","bundle_version":"1",'
    '"software_version":"0.1.0","runtime":"openvino","device":"cpu","precision":"f32",'
    '"notes":["\\u00e4"]}\n'
)
VOLUME = VolumeRecord(
    image_id="chest",
    path="chest.nii",
    study_instance_uid=None,
    series_instance_uid="1.2",
    shape=(2, 4, 6),
    slice_shape=(6, 4),
    spacing_mm=(5.0, 1.0, 1.0),
    logit=2.0,
    probability=0.88,
    positive=True,
    classifier_threshold=0.35,
    segmenter_threshold=0.5,
    segmented=True,
    voxels=3,
    volume_ml=0.015,
    share_of_hemithorax=None,
    hemithorax_shares={"left": 0.25},
    side="left",
    greatest_thickness_mm=1.0,
    first_slice=2,
    last_slice=2,
    lesions=(
        VolumeLesionRecord(
            voxels=3,
            volume_ml=0.015,
            score=0.9,
            side="left",
            greatest_thickness_mm=None,
            first_slice=2,
            last_slice=2,
            slices=(LesionInSlice(slice=2, area_px=3, area_mm2=3.0, rle="0 3"),),
        ),
    ),
    slices=(
        SliceRecord(image_id="chest_1", probability=0.1, segmented=False, rle="-1"),
        SliceRecord(image_id="chest_2", probability=0.88, segmented=True, rle="0 3"),
    ),
    seconds=1.5,
)


def test_a_line_to_the_letter_and_back() -> None:
    """Breaks if journals of this version and of the one before are no longer the same bytes."""
    assert FILM.to_json() == FILM_LINE
    assert from_json(FILM_LINE, "here") == FILM
    bare = replace(FILM, path=None, spacing_mm=None, patient_orientation=None, area_mm2=None)
    assert from_json(bare.to_json(), "here") == bare


def test_a_volume_and_back() -> None:
    line = VOLUME.to_json()
    assert list(json.loads(line))[:4] == ["image_id", "path", "modality", "study_instance_uid"]
    assert from_json(line, "here") == VOLUME
    assert from_json(line, "here").to_json() == line


def test_a_line_of_an_earlier_version_is_read() -> None:
    """Breaks if a run of before cannot be evaluated, shown or gone on with."""
    record = json.loads(FILM_LINE)
    for name in ("device", "notes", "patient_orientation", "spacing_mm", "path"):
        del record[name]
    found = from_json(json.dumps(record), "here")
    assert isinstance(found, FindingRecord)
    assert (found.device, found.notes, found.spacing_mm, found.path) == ("cpu", (), None, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_id": None}, "field 'image_id' must be str, got None"),
        ({"shape": [4]}, r"field 'shape' must be \[rows, cols\], got \[4\]"),
        ({"probability": "0.5"}, r"field 'probability' must lie in \[0, 1\], got '0.5'"),
        ({"positive": 1}, "field 'positive' must be bool, got 1"),
        ({"area_px": 1.5}, "field 'area_px' must be int, got 1.5"),
        ({"logit": float("inf")}, "field 'logit' must be a number, got inf"),
        ({"seconds": -1}, "field 'seconds' must be 0 or more, got -1"),
        ({"lesions": [{"rle": "1 1"}]}, r"field 'score' must lie in \[0, 1\], got None"),
        ({"notes": "one"}, "field 'notes' must be a list of texts, got 'one'"),
        ({"modality": "mr"}, "field 'modality' must be xray or ct, got 'mr'"),
        ({"modality": "ct"}, r"field 'shape' must be \[slices, rows, cols\]"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text(FILM_LINE + "\n" + json.dumps(json.loads(FILM_LINE) | changes) + "\n")
    with pytest.raises(DataError, match=rf"predictions\.jsonl, line 3: {said}"):
        list(numbered_records(path))


def test_one_kind_is_not_taken_for_the_other(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text(FILM_LINE + VOLUME.to_json())
    with pytest.raises(DataError, match="line 2: this run is of FindingRecord"):
        list(read_records(path, FindingRecord))
    path.write_bytes(b"\xff\n")
    with pytest.raises(DataError, match="not UTF-8"):
        list(read_records(path, FindingRecord))
