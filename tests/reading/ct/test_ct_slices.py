"""Stored values become HU: every compression, slope, sign and padding; one slice at a time."""

from __future__ import annotations

import tracemalloc

import ct_files
import numpy as np
import pytest
from ct_files import AFFINE, body
from pydicom import uid

from pneumoseg.errors import InputError
from pneumoseg.reading.ct import slices as ct_slices
from pneumoseg.reading.volumes import find_volumes, open_volume, read_volume

SYNTAXES = {
    "implicit": uid.ImplicitVRLittleEndian,
    "big endian": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
    "rle": uid.RLELossless,
    "jpeg-ls": uid.JPEGLSLossless,
    "jpeg 2000": uid.JPEG2000Lossless,
    "jpeg lossless": uid.JPEGLosslessSV1,
}


def unsigned(hu, **tags):
    """Slices of unsigned values with an intercept."""
    slices = ct_files.series((hu + 1024).astype(np.uint16), RescaleIntercept=-1024, **tags)
    for dataset in slices:
        dataset.BitsStored, dataset.HighBit = 12, 11
    return slices


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_compression(tmp_path, syntax):
    image = read_volume(ct_files.write_series(tmp_path, unsigned(body()), syntax))
    np.testing.assert_array_equal(image.pixels, body())
    assert image.source.notes == ()


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_compressed_frames(tmp_path, syntax):
    dataset = ct_files.enhanced(body())
    dataset.BitsStored, dataset.HighBit = 13, 12
    path = ct_files.write(tmp_path / "x", dataset, syntax)
    np.testing.assert_array_equal(read_volume(path).pixels, body())


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.RLELossless])
def test_signed_values(tmp_path, syntax):
    image = read_volume(ct_files.write_series(tmp_path, ct_files.series(body()), syntax))
    np.testing.assert_array_equal(image.pixels, body())


def test_slope_and_intercept_differ_by_slice(tmp_path):
    slices = ct_files.series(body())
    for index, dataset in enumerate(slices):
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + index, 10.0 * index
    image = read_volume(ct_files.write_series(tmp_path, slices))
    for index, one in enumerate(image.pixels):
        expected = np.maximum(body()[index] * (0.5 + index) + 10.0 * index, -1024)
        np.testing.assert_allclose(one, expected)


@pytest.mark.parametrize(
    ("padding", "limit"), [(3000, None), (3000, 3010), (-2000, None), (63536, None)]
)
def test_padding_is_air(tmp_path, padding, limit):
    hu = body()
    hu[:, :5] = padding - 65536 if padding > 32767 else padding
    hu[:, 5] = 3010 if limit else hu[:, 6]
    slices = ct_files.series(hu, PixelPaddingValue=0)
    for dataset in slices:
        # Written by hand: pydicom refuses a value that does not fit the sign.
        dataset.add_new(0x00280120, "US" if padding > 0 else "SS", padding)
        if limit:
            dataset.add_new(0x00280121, "SS", limit)
    image = read_volume(ct_files.write_series(tmp_path, slices))
    assert (image.pixels[:, :5] == -1024).all()
    assert (image.pixels[:, 5] == (-1024 if limit else hu[:, 6])).all()
    np.testing.assert_array_equal(image.pixels[:, 6:], hu[:, 6:])


def test_padding_below_air_that_is_not_declared_is_air(tmp_path):
    hu = body()
    hu[:, :, :4] = -2000
    image = read_volume(ct_files.write_series(tmp_path, ct_files.series(hu)))
    assert image.pixels.min() == -1024


def test_missing_rescale_is_noted_where_values_can_be_hu(tmp_path):
    slices = ct_files.series(body(), RescaleSlope=None, RescaleIntercept=None)
    image = read_volume(ct_files.write_series(tmp_path, slices))
    np.testing.assert_array_equal(image.pixels, body())
    assert "stored values are taken for HU" in image.source.notes[0]


def test_missing_rescale_is_refused_where_values_cannot_be_hu(tmp_path):
    stored = (body() + 1024).astype(np.uint16)
    slices = ct_files.series(stored, RescaleSlope=None, RescaleIntercept=None)
    with pytest.raises(InputError) as caught:
        read_volume(ct_files.write_series(tmp_path, slices))
    assert caught.value.code == "not-hu"


def test_material_images_are_refused(tmp_path):
    slices = ct_files.series(body(), RescaleType="MGML")
    with pytest.raises(InputError) as caught:
        read_volume(ct_files.write_series(tmp_path, slices))
    assert caught.value.code == "not-hu"


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.97])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEGLSLossless])
def test_a_truncated_slice_is_named_and_never_skipped(tmp_path, syntax, kept):
    ct_files.write_series(tmp_path, unsigned(body()), syntax)
    (found,) = find_volumes([tmp_path])
    damaged = sorted(found.files)[2]
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=damaged.name) as caught:
        list(open_volume(found).slices())
    assert caught.value.code in ("truncated", "damaged")


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEGLSLossless])
def test_a_truncated_multi_frame_object_is_refused(tmp_path, syntax):
    path = ct_files.write(tmp_path / "x", ct_files.enhanced(body()), syntax)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.8)])
    with pytest.raises(InputError, match="x: ") as caught:
        read_volume(path)
    assert caught.value.code in ("truncated", "damaged")


def test_a_file_that_vanishes_is_named(tmp_path):
    ct_files.write_series(tmp_path, ct_files.series(body()))
    (found,) = find_volumes([tmp_path])
    volume = open_volume(found)
    for path in found.files:
        path.unlink()
    with pytest.raises(InputError, match="IM") as caught:
        list(volume.slices())
    assert caught.value.code == "unreadable"


def test_slices_are_decoded_when_they_are_asked_for(tmp_path, monkeypatch):
    ct_files.write_series(tmp_path, ct_files.series(body()))
    (found,) = find_volumes([tmp_path])
    volume = open_volume(found)
    read = []
    monkeypatch.setattr(
        ct_slices, "read_slice", lambda header, *_: read.append(header) or np.zeros((64, 80))
    )
    slices = volume.slices(1, 4)
    assert read == []
    next(slices)
    assert read == [volume.stack.slices[1]]
    assert len(list(slices)) == 2
    assert len(read) == 3


@pytest.mark.parametrize("kind", ["series", "enhanced"])
def test_memory_does_not_grow_with_the_number_of_slices(tmp_path, kind):
    hu = np.resize(body((1, 128, 128)), (60, 128, 128))
    if kind == "series":
        ct_files.write_series(tmp_path, ct_files.series(hu))
    else:
        ct_files.write(tmp_path / "x", ct_files.enhanced(hu))
    (found,) = find_volumes([tmp_path])
    volume = open_volume(found)
    next(volume.slices())
    tracemalloc.start()
    for one in volume.slices():
        assert one.shape == (128, 128)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * hu[0].nbytes < hu.nbytes / 2  # a few slices as float64, not all 60


def test_two_enhanced_objects_of_one_series_are_two_volumes(tmp_path):
    for number in range(2):
        dataset = ct_files.enhanced(body() + number)
        dataset.SOPInstanceUID += f".{number}"
        ct_files.write(tmp_path / str(number), dataset)
    first, second = find_volumes([tmp_path])
    np.testing.assert_array_equal(read_volume(first).pixels, body())
    np.testing.assert_array_equal(read_volume(second).pixels, body() + 1)


def test_phases_in_one_enhanced_object_are_told_apart(tmp_path):
    dataset = ct_files.enhanced(body(), frames=[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])
    for index, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence[0].TemporalPositionIndex = 1 + index // 6
        values = group.PixelValueTransformationSequence[0]
        values.RescaleIntercept += 100 * (index // 6)
    path = ct_files.write(tmp_path / "x", dataset)
    first, second = find_volumes([path])
    assert (first.part, second.part) == (
        ("TemporalPositionIndex", "1"),
        ("TemporalPositionIndex", "2"),
    )
    np.testing.assert_array_equal(read_volume(first).pixels, body())
    np.testing.assert_array_equal(read_volume(second).pixels, body() + 100)


def test_an_object_split_over_files_is_one_volume(tmp_path):
    """A concatenation (PS3.3 C.7.6.16.2.2.4): the frames of one object in several files."""
    for number, frames in enumerate(([0, 1, 2], [3, 4, 5])):
        dataset = ct_files.enhanced(body(), frames=frames)
        dataset.SOPInstanceUID += f".{number}"
        ct_files.write(tmp_path / str(number), dataset)
    image = read_volume(tmp_path)
    np.testing.assert_array_equal(image.pixels, body())
    np.testing.assert_allclose(image.geometry.affine, AFFINE, atol=1e-5)


def test_frames_without_description_are_damaged(tmp_path):
    dataset = ct_files.enhanced(body())
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:4]
    with pytest.raises(InputError, match="6 frames") as caught:
        read_volume(ct_files.write(tmp_path / "x", dataset))
    assert caught.value.code == "damaged"
