"""Files become volumes: grouped by series, ordered by place, refused with the reason."""

from __future__ import annotations

import random
import shutil

import ct_files
import numpy as np
import pytest
import SimpleITK
from ct_files import AFFINE, SERIES, body
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from pneumoseg.errors import InputError
from pneumoseg.reading import read
from pneumoseg.reading.volumes import (
    VolumeFailure,
    VolumeInput,
    find_volumes,
    open_volume,
    read_volume,
)


def refusal(path):
    """Code and message, wherever the refusal comes."""
    with pytest.raises(InputError) as caught:
        read_volume(path)
    return caught.value.code, str(caught.value)


def notes(path):
    return " | ".join(read_volume(path).source.notes)


def report(**tags) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.67"
    dataset.SOPInstanceUID, dataset.Modality = "1.2.826.0.2.77", "SR"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = ct_files.STUDY, f"{SERIES}.9"
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def localizer(number=500, **tags) -> Dataset:
    return ct_files.ct_slice(
        np.zeros((64, 80), np.int16),
        (0, 0, 0),
        (1, 0, 0, 0, 0, -1),
        **{"number": number, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], **tags},
    )


def test_order_is_that_of_position_whatever_names_and_numbers_say(tmp_path):
    slices = ct_files.series(body())
    for seed in range(3):
        folder = tmp_path / str(seed)
        shuffled = list(slices)
        random.Random(seed).shuffle(shuffled)
        for number, dataset in enumerate(shuffled):
            dataset.InstanceNumber = number
            dataset.SliceLocation = random.Random(number).uniform(-9, 9)
        image = read_volume(ct_files.write_series(folder, shuffled))
        np.testing.assert_array_equal(image.pixels, body())
        assert image.source.notes == ()


def test_uids_of_slices_come_in_canonical_order(tmp_path):
    ct_files.write_series(tmp_path, ct_files.series(body()))
    (found,) = find_volumes([tmp_path])
    volume = open_volume(found)
    assert volume.sop_instance_uids == tuple(f"{SERIES}.{6 - k}" for k in range(6))
    assert volume.source.study_instance_uid == ct_files.STUDY
    assert volume.source.series_instance_uid == SERIES
    assert (volume.source.image_id, volume.source.sop_instance_uid) == (SERIES, None)


def test_series_in_one_folder_and_one_series_in_many_folders(tmp_path):
    first = ct_files.series(body())
    second = ct_files.series(body() + 5, SeriesInstanceUID="1.2.3.4")
    for index, dataset in enumerate(first):
        ct_files.write(tmp_path / "study" / f"part{index % 2}" / f"{index}", dataset)
    for index, dataset in enumerate(second):
        ct_files.write(tmp_path / "study" / "part1" / f"b{index}", dataset)
    found = list(find_volumes([tmp_path / "study"]))
    assert [(one.name, one.path.name, len(one.files)) for one in found] == [
        (SERIES, "study", 6),
        ("1.2.3.4", "part1", 6),
    ]
    np.testing.assert_array_equal(read_volume(found[0]).pixels, body())
    np.testing.assert_array_equal(read_volume(found[1]).pixels, body() + 5)
    assert refusal(tmp_path)[0] == "several-volumes"


def test_finding_does_not_decode_pixels(tmp_path, monkeypatch):
    ct_files.write_series(tmp_path, ct_files.series(body()))
    monkeypatch.setattr("pneumoseg.reading.ct.slices.decode", lambda *_: pytest.fail("decoded"))
    assert len(list(find_volumes([tmp_path]))) == 1


def test_series_without_uid_is_the_folder(tmp_path):
    slices = ct_files.series(body(), SeriesInstanceUID=None)
    image = read_volume(ct_files.write_series(tmp_path / "scan", slices))
    assert image.source.image_id == "scan"
    assert "SeriesInstanceUID is missing" in image.source.notes[0]


def test_one_missing_slice_is_noted_with_its_place_and_counts_in_volumes(tmp_path):
    slices = ct_files.series(body())
    del slices[3]
    image = read_volume(ct_files.write_series(tmp_path, slices))
    assert "1 slice is missing among 5 of 2.5 mm (1 after slice 3," in image.source.notes[0]
    np.testing.assert_allclose(image.geometry.slice_offsets_mm, [0, 2.5, 5, 10, 12.5], atol=1e-6)
    # Half of the gap of 5 mm goes to either neighbour; all in all six slices of 2.5 mm.
    np.testing.assert_allclose(image.geometry.slice_extents_mm(5), [2.5, 2.5, 3.75, 3.75, 2.5])
    np.testing.assert_allclose(image.spacing_mm[0], 12.5 / 4)
    np.testing.assert_allclose(
        (image.geometry.affine @ [4, 0, 0, 1])[:3], (AFFINE @ [5, 0, 0, 1])[:3], atol=1e-5
    )


def test_several_gaps_are_all_counted(tmp_path):
    hu = body((20, 64, 80))
    slices = [s for k, s in enumerate(ct_files.series(hu)) if k not in (4, 5, 11)]
    found = notes(ct_files.write_series(tmp_path, slices))
    assert "3 slices are missing among 17 of 2.5 mm (2 after slice 4, 1 after slice 9" in found


def test_rounded_positions_are_no_gaps(tmp_path):
    """Scanners write 0.625 mm steps with one decimal."""
    slices = ct_files.series(body((20, 64, 80)))
    for index, dataset in enumerate(slices):
        dataset.ImagePositionPatient = [0, 0, round(-0.625 * index, 1)]
    image = read_volume(ct_files.write_series(tmp_path, slices))
    assert image.source.notes == ()
    assert image.geometry.slice_offsets_mm is None
    assert image.spacing_mm[0] == pytest.approx(0.625, abs=0.006)


def test_varying_spacing_is_noted_and_kept_slice_by_slice(tmp_path):
    slices = ct_files.series(body())
    depths = [0, 1, 2, 4.5, 7, 11.3]
    for depth, dataset in zip(depths, slices, strict=True):
        dataset.ImagePositionPatient = [0, 0, 100 - depth]
    image = read_volume(ct_files.write_series(tmp_path, slices))
    assert "slice spacing varies from 1 to 4.3 mm" in image.source.notes[0]
    np.testing.assert_allclose(image.geometry.slice_offsets_mm, depths)
    np.testing.assert_allclose(image.geometry.slice_extents_mm(6)[1:5], [1, 1.75, 2.5, 3.4])


@pytest.mark.parametrize("degrees", [15.0, -20.0])
def test_gantry_tilt(tmp_path, degrees):
    affine = ct_files.tilted_affine(degrees)
    image = read_volume(ct_files.write_series(tmp_path, ct_files.series(body(), affine)))
    np.testing.assert_allclose(image.geometry.affine, affine, atol=1e-5)
    assert f"gantry tilt of {abs(degrees):.1f}°" in image.source.notes[0]
    along_normal = 2.5 * np.cos(np.radians(degrees))
    np.testing.assert_allclose(image.spacing_mm, [along_normal, 0.8, 0.7], rtol=1e-5)
    volume = abs(np.linalg.det(affine[:3, :3]))
    np.testing.assert_allclose(np.prod(image.spacing_mm), volume, rtol=1e-5)
    np.testing.assert_allclose(image.geometry.slice_extents_mm(6), along_normal, rtol=1e-5)


def test_gantry_tilt_values_are_those_of_simple_itk(tmp_path):
    """SimpleITK drops the shear: voxels are the same, only its places within the stack are not."""
    folder = ct_files.write_series(
        tmp_path, ct_files.series(body(), ct_files.tilted_affine(15.0), ct_files.SUPINE)
    )
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    other = SimpleITK.GetArrayFromImage(reader.Execute())
    image = read_volume(folder)
    assert any(np.array_equal(image.pixels, turned) for turned in (other, other[::-1]))


def test_copies_of_files_count_once(tmp_path):
    slices = ct_files.series(body())
    ct_files.write_series(tmp_path / "a", slices)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    image = read_volume(tmp_path)
    np.testing.assert_array_equal(image.pixels, body())
    assert "left out: 6 copies of files" in image.source.notes[0]


def test_duplicate_slice_under_another_uid_counts_once(tmp_path):
    slices = ct_files.series(body())
    twin = ct_files.series(body())[2]
    twin.SOPInstanceUID = f"{SERIES}.99"
    image = read_volume(ct_files.write_series(tmp_path, [*slices, twin]))
    np.testing.assert_array_equal(image.pixels, body())
    assert "1 duplicate" in image.source.notes[0]


def test_other_content_at_the_same_place_is_refused(tmp_path):
    slices = ct_files.series(body())
    other = ct_files.series(body() + 3)[2]
    other.SOPInstanceUID = f"{SERIES}.99"
    code, message = refusal(ct_files.write_series(tmp_path, [*slices, other]))
    assert code == "mixed-series"
    assert "lie at the same place" in message


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("AcquisitionNumber", [1, 2, 10]),
        ("TemporalPositionIdentifier", [1, 2, 3]),
        ("ConvolutionKernel", ["B30f", "B70f", "C"]),
        ("SliceThickness", [1, 2, 5]),
        ("NominalPercentageOfCardiacPhase", [0, 40, 80]),
    ],
)
def test_several_volumes_in_one_series_are_told_apart(tmp_path, keyword, values):
    for number, value in enumerate(values):
        slices = ct_files.series(body() + number, **{keyword: value})
        for index, dataset in enumerate(slices):
            dataset.SOPInstanceUID = f"{SERIES}.{number}.{index}"
            dataset.AcquisitionTime = f"1200{number}{index}"
        ct_files.write_series(tmp_path / str(number), slices)
    found = list(find_volumes([tmp_path]))
    assert [one.name for one in found] == [f"{SERIES}_part{k}" for k in (1, 2, 3)]
    for number, one in enumerate(found):
        image = read_volume(one)
        np.testing.assert_array_equal(image.pixels, body() + number)
        assert f"volume {number + 1} of 3 in this series" in image.source.notes[0]
        assert keyword in image.source.notes[0]


def test_acquisitions_that_overlap_in_a_few_slices_are_two_volumes(tmp_path):
    hu = body((8, 64, 80))
    slices = ct_files.series(hu)
    lower = [*ct_files.series(hu + 1)[3:]]
    for dataset in lower:
        dataset.AcquisitionNumber = 2
        dataset.SOPInstanceUID += ".2"
    ct_files.write_series(tmp_path, [*slices[:5], *lower])
    first, second = (read_volume(one).pixels for one in find_volumes([tmp_path]))
    np.testing.assert_array_equal(first, hu[:5])
    np.testing.assert_array_equal(second, hu[3:] + 1)


def test_localizers_reports_and_captures_are_left_out_and_counted(tmp_path):
    ct_files.write_series(tmp_path, ct_files.series(body()))
    ct_files.write(tmp_path / "l1", localizer())
    ct_files.write(tmp_path / "l2", localizer(501, SeriesInstanceUID="1.2.3"))
    topogram = {"ImageType": ["ORIGINAL", "PRIMARY"], "SeriesDescription": "Topogram 0.6"}
    ct_files.write(tmp_path / "l3", localizer(502, SeriesInstanceUID="1.2.4", **topogram))
    ct_files.write(tmp_path / "dose", report())
    capture = ct_files.series(body()[:1])[0]
    capture.SOPClassUID, capture.SeriesInstanceUID = uid.SecondaryCaptureImageStorage, "1.2.5"
    ct_files.write(tmp_path / "capture", capture)
    (found,) = find_volumes([tmp_path])
    assert isinstance(found, VolumeInput)
    image = read_volume(found)
    np.testing.assert_array_equal(image.pixels, body())
    assert image.source.notes == (
        "left out of the study: 3 localizers",
        "left out of the study: 1 report",
        "left out of the study: 1 secondary capture",
    )


@pytest.mark.parametrize("count", [1, 2])
def test_scouts_that_are_not_marked_are_left_out(tmp_path, count):
    ct_files.write_series(tmp_path, ct_files.series(body()))
    for number in range(count):
        scout = localizer(500 + number, ImageType=["ORIGINAL", "PRIMARY"])
        ct_files.write(tmp_path / f"scout{number}", scout)
    image = read_volume(tmp_path)
    np.testing.assert_array_equal(image.pixels, body())
    assert f"{count} localizer" in image.source.notes[0]


@pytest.mark.parametrize(
    ("dataset", "code"),
    [
        (localizer(), "localizer"),
        (localizer(ImageType=["DERIVED"]), "localizer"),
        (report(), "not-an-image"),
        (localizer(SOPClassUID=uid.SecondaryCaptureImageStorage, ImageType="DERIVED"), "not-ct"),
        (localizer(SOPClassUID=uid.MRImageStorage, Modality="MR"), "not-ct"),
    ],
    ids=["localizer", "unmarked scout", "report", "capture", "MR"],
)
def test_what_is_no_volume_is_refused_where_nothing_else_is_there(tmp_path, dataset, code):
    path = ct_files.write(tmp_path / "x", dataset)
    (found,) = find_volumes([tmp_path])
    assert isinstance(found, VolumeFailure)
    assert (found.path, found.code) == (path, code)


def test_other_modalities_are_one_failure_a_series(tmp_path):
    ct_files.write_series(tmp_path / "ct", ct_files.series(body()))
    pet = {"Modality": "PT", "SOPClassUID": uid.PositronEmissionTomographyImageStorage}
    slices = ct_files.series(body(), SeriesInstanceUID="1.2.9", **pet)
    ct_files.write_series(tmp_path / "pet", slices)
    volume, failure = find_volumes([tmp_path])
    assert isinstance(volume, VolumeInput)
    assert failure == VolumeFailure(
        tmp_path / "pet", "not-ct", "these are 6 images of modality 'PT'; a chest CT is expected"
    )


def test_files_that_are_no_image_are_failures_of_their_own(tmp_path):
    ct_files.write_series(tmp_path, ct_files.series(body()))
    (tmp_path / "z.txt").write_text("notes")
    (tmp_path / "z.zip").write_bytes(b"PK\x03\x04")
    (tmp_path / "z0").write_bytes(b"")
    found = list(find_volumes([tmp_path]))
    assert [getattr(one, "code", one.name if hasattr(one, "name") else "") for one in found] == [
        "document",
        "archive",
        "empty-file",
        SERIES,
    ]


def change(slices, keyword, values):
    for dataset, value in zip(slices, values, strict=True):
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)


@pytest.mark.parametrize(
    ("keyword", "values", "code", "words"),
    [
        ("ImagePositionPatient", [[0, 0, 5]] + [None] * 5, "unordered-series", "no ImagePosition"),
        ("ImageOrientationPatient", [None] * 6, "unordered-series", "left and right"),
        ("ImageOrientationPatient", [[1, 0, 0, 1, 0, 0]] * 6, "unordered-series", "right angles"),
        (
            "ImageOrientationPatient",
            [[1, 0, 0, 0, 0.9962, 0.0872]] * 3 + [[1, 0, 0, 0, 1, 0]] * 3,
            "mixed-series",
            "different orientations",
        ),
        ("PixelSpacing", [[0.8, 0.7]] * 5 + [[0.9, 0.9]], "mixed-series", "different PixelSpacing"),
        (
            "ImagePositionPatient",
            [[0, 9 * (k == 2), k] for k in range(6)],
            "mixed-series",
            "beside",
        ),
    ],
)
def test_what_cannot_be_ordered_is_refused(tmp_path, keyword, values, code, words):
    slices = ct_files.series(body())
    change(slices, keyword, values)
    found_code, message = refusal(ct_files.write_series(tmp_path, slices))
    assert found_code == code
    assert words in message


def test_mixed_sizes_are_refused(tmp_path):
    other = ct_files.ct_slice(np.zeros((64, 64), np.int16), (0, 0, 500), number=50)
    folder = ct_files.write_series(tmp_path, [*ct_files.series(body()), other])
    code, message = refusal(folder)
    assert code == "mixed-series"
    assert "80×64 and 64×64" in message or "64×64 and 80×64" in message


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [((0, 1, 0, 0, 0, -1), "sagittal"), ((1, 0, 0, 0, 0, -1), "coronal")],
)
def test_reformats_across_the_body_are_refused(tmp_path, orientation, plane):
    normal = np.cross(orientation[:3], orientation[3:])
    slices = [
        ct_files.ct_slice(one, 2 * k * normal, orientation, number=k + 1)
        for k, one in enumerate(body())
    ]
    code, message = refusal(ct_files.write_series(tmp_path, slices))
    assert code == "not-axial"
    assert plane in message


def test_without_positions_slice_location_orders_and_is_noted(tmp_path):
    slices = ct_files.series(body(), ImagePositionPatient=None)
    image = read_volume(ct_files.write_series(tmp_path, slices))
    np.testing.assert_array_equal(image.pixels, body())
    assert "ImagePositionPatient is missing" in image.source.notes[0]
    np.testing.assert_allclose(image.spacing_mm, ct_files.SPACING_MM)
    np.testing.assert_allclose(image.geometry.affine[2], [-2.5, 0, 0, 90], atol=1e-6)


@pytest.mark.parametrize("location", [0, None])
def test_without_positions_and_locations_it_is_refused(tmp_path, location):
    slices = ct_files.series(body(), ImagePositionPatient=None, SliceLocation=location)
    assert refusal(ct_files.write_series(tmp_path, slices))[0] == "unordered-series"


def test_missing_pixel_spacing_leaves_sizes_unknown(tmp_path):
    slices = ct_files.series(body())
    change(slices, "PixelSpacing", [None] * 6)
    image = read_volume(ct_files.write_series(tmp_path, slices))
    np.testing.assert_array_equal(image.pixels, body())
    assert image.spacing_mm is None
    assert image.geometry is None
    assert "PixelSpacing is missing" in image.source.notes[0]


def test_a_single_slice_has_the_thickness_it_names(tmp_path):
    path = ct_files.write(tmp_path / "x", ct_files.series(body()[:1])[0])
    image = read_volume(path)
    assert image.pixels.shape == (1, 64, 80)
    np.testing.assert_allclose(image.spacing_mm, ct_files.SPACING_MM)
    assert image.source.sop_instance_uid == f"{SERIES}.1"
    assert "thickness is SliceThickness, 2.5 mm" in image.source.notes[0]


def test_a_ct_slice_is_still_no_film(tmp_path):
    path = ct_files.write(tmp_path / "x", ct_files.series(body())[0])
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.code == "not-an-xray"
