"""NIfTI of any type, scale, header and compression becomes HU, or is refused with the reason."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc
from pathlib import Path

import ct_files
import nibabel as nib
import numpy as np
import pytest
from ct_files import AFFINE, body

from pneumoseg.errors import InputError
from pneumoseg.reading import read
from pneumoseg.reading.nifti import read_label_map
from pneumoseg.reading.volumes import find_volumes, open_volume, read_volume

RAS = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
LIDC = Path(__file__).parents[3] / "shared/data/ct/lidc/ct.nii.gz"


def save(path, values, affine=RAS, *, kind=nib.Nifti1Image, **header):
    image = kind(values, affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_volume(path)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<i4", ">i4", "<f4", ">f4", "<f8", ">f8", "<i8"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_stored_type(tmp_path, dtype, ending):
    header = nib.Nifti1Header(endianness=dtype[0])
    image = nib.Nifti1Image(body().astype(dtype), RAS, header, dtype=np.dtype(dtype))
    nib.save(image, tmp_path / f"x{ending}")
    image = read_volume(tmp_path / f"x{ending}")
    np.testing.assert_array_equal(image.pixels, body())
    np.testing.assert_allclose(image.geometry.affine, AFFINE, atol=1e-5)
    assert (image.source.image_id, image.source.notes) == ("x", ())


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(
    ("dtype", "slope", "inter"),
    [("u2", 1, -1024), ("u1", 16, -1024), ("i2", 0.5, -200), ("u4", 0.001, -1000)],
)
def test_scale(tmp_path, kind, dtype, slope, inter):
    limits = np.iinfo(dtype)
    stored = ((body().astype(float) - inter) / slope).clip(limits.min, limits.max).astype(dtype)
    image = kind(stored, RAS)
    nib.save(image, tmp_path / "x.nii")
    # nibabel chooses the scale itself when it saves: written by hand.
    content = bytearray((tmp_path / "x.nii").read_bytes())
    scale = np.array([slope, inter], "f4" if kind is nib.Nifti1Image else "f8").tobytes()
    at = 112 if kind is nib.Nifti1Image else 176
    content[at : at + len(scale)] = scale
    (tmp_path / "x.nii").write_bytes(content)
    expected = np.clip(nib.load(tmp_path / "x.nii").get_fdata(), -1024, None)
    np.testing.assert_allclose(read_volume(tmp_path / "x.nii").pixels, expected, atol=1e-3)


def test_nan_and_infinity_are_air(tmp_path):
    values = body().astype(np.float32)
    values[0, 0, :3] = np.nan, -np.inf, np.inf
    image = read_volume(save(tmp_path / "x.nii", values))
    assert (image.pixels[0, 0, :3] == -1024).all()
    np.testing.assert_array_equal(image.pixels[1:], body()[1:])


def test_content_decides_not_the_name(tmp_path):
    path = save(tmp_path / "x.nii.gz", body())
    renamed = path.rename(tmp_path / "scan.dat")
    (found,) = find_volumes([tmp_path])
    assert (found.kind, found.name) == ("nifti", "scan")
    np.testing.assert_array_equal(read_volume(renamed).pixels, body())


def test_a_volume_is_no_film(tmp_path):
    for ending in (".nii", ".nii.gz"):
        with pytest.raises(InputError) as caught:
            read(save(tmp_path / f"x{ending}", body()))
        assert caught.value.code == "not-an-xray"


def test_sform_goes_before_qform(tmp_path):
    image = nib.Nifti1Image(body(), None)
    image.set_qform(np.diag([1.0, 1, 1, 1]), code=1)
    image.set_sform(RAS, code=2)
    nib.save(image, tmp_path / "both.nii")
    np.testing.assert_allclose(
        read_volume(tmp_path / "both.nii").geometry.affine, AFFINE, atol=1e-5
    )
    image.set_sform(None, code=0)
    image.set_qform(RAS, code=1)
    nib.save(image, tmp_path / "qform.nii")
    found = read_volume(tmp_path / "qform.nii")
    np.testing.assert_allclose(found.geometry.affine, AFFINE, atol=1e-4)
    assert found.source.notes == ()


def test_without_a_place_the_assumption_is_noted(tmp_path):
    """nibabel's choice: first axis to the left, second to anterior, third to the head."""
    path = save(tmp_path / "x.nii", body().transpose(2, 1, 0), np.diag([0.7, 0.8, 2.5, 1]))
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)  # qform_code, sform_code
    path.write_bytes(content)
    found = read_volume(path)
    assert "does not say how it lies" in found.source.notes[0]
    np.testing.assert_array_equal(found.pixels, body()[::-1, ::-1])
    np.testing.assert_allclose(found.spacing_mm, (2.5, 0.8, 0.7), rtol=1e-6)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3)])
def test_units_become_millimetres(tmp_path, unit, factor):
    affine = RAS.copy()
    affine[:3] *= factor
    image = nib.Nifti1Image(body(), affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "x.nii")
    found = read_volume(tmp_path / "x.nii")
    np.testing.assert_allclose(found.spacing_mm, ct_files.SPACING_MM, rtol=1e-5)
    assert f"measures in {unit}" in found.source.notes[0]


def test_axes_of_length_one_are_dropped_and_several_volumes_refused(tmp_path):
    one = save(tmp_path / "one.nii", body()[..., None, None])
    np.testing.assert_array_equal(read_volume(one).pixels, body())
    two = save(tmp_path / "two.nii", np.stack([body()] * 2, axis=3))
    code, message = refusal(two)
    assert code == "multi-frame"
    assert "2 volumes" in message


def test_a_single_slice(tmp_path):
    path = save(tmp_path / "x.nii", body()[0].T, np.diag([-1.0, -1, 1, 1]))
    assert read_volume(path).pixels.shape == (1, 64, 80)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ((body() + 1024.0) / 3000, "not-hu"),
        (np.clip((body() + 1000) // 4, 0, 255).astype(np.uint8), "not-hu"),
        ((body() + 1024).astype(np.uint16), "not-hu"),
        (np.full(body().shape, -1000, np.int16), "constant-image"),
        (body().astype(np.complex64), "unsupported-pixels"),
        (body()[:, :40, :40], "too-small"),
    ],
    ids=["0 to 1", "0 to 255", "offset", "constant", "complex", "small"],
)
def test_what_cannot_be_a_chest_in_hu_is_refused(tmp_path, values, code):
    assert refusal(save(tmp_path / "x.nii", values))[0] == code


def test_colours_are_refused(tmp_path):
    rgb = np.zeros(body().shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert refusal(save(tmp_path / "x.nii", rgb))[0] == "unsupported-pixels"


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0.2, 0.9])
def test_truncated(tmp_path, ending, kept):
    values = np.random.default_rng(0).integers(-1000, 500, (8, 64, 64)).astype(np.int16)
    path = save(tmp_path / f"x{ending}", values)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert refusal(path)[0] == "truncated"


@pytest.mark.parametrize("kept", [10, 100, 347])
def test_shorter_than_its_header(tmp_path, kept):
    path = save(tmp_path / "x.nii", np.zeros((8, 64, 64), dtype=np.int16))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError) as caught:
        read_label_map(path)
    assert caught.value.code == "damaged"


def test_nibabel_s_warnings_stay_inside(tmp_path):
    """An extension of 17 bytes: nibabel warns of its size; pytest would make that an error."""
    path = save(tmp_path / "x.nii", np.full((8, 64, 64), -500, dtype=np.int16))
    content = bytearray(path.read_bytes())
    content[108:112] = np.float32(384).tobytes()  # where the voxels begin
    extension = bytes([1, 0, 0, 0]) + (17).to_bytes(4, "little") + bytes(28)
    path.write_bytes(content[:348] + extension + content[352:])
    with contextlib.suppress(InputError):
        read_label_map(path)


def test_damaged_gzip(tmp_path):
    values = np.random.default_rng(0).integers(-1000, 500, (8, 64, 64)).astype(np.int16)
    path = save(tmp_path / "x.nii.gz", values)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)
    assert refusal(path)[0] in ("truncated", "damaged")


@pytest.mark.parametrize(
    ("at", "value", "code"),
    [
        (40, np.array([3, 30000, 30000, 30000], "<i2"), "too-large"),
        (40, np.array([3, -5, 64, 64], "<i2"), "damaged"),
        (40, np.array([9], "<i2"), "damaged"),
        (70, np.array([999], "<i2"), "damaged"),
        (280, np.zeros(12, "<f4"), "damaged"),
        (280, np.full(12, np.nan, "<f4"), "damaged"),
        (344, np.frombuffer(b"ni1\0", "u1"), "unknown-format"),
    ],
    ids=["bomb", "negative", "axes", "type", "singular", "nan", "pair"],
)
def test_damaged_header(tmp_path, at, value, code):
    path = save(tmp_path / "x.nii", body())
    content = bytearray(path.read_bytes())
    content[at : at + value.nbytes] = value.tobytes()
    path.write_bytes(content)
    assert refusal(path)[0] == code


def test_a_packed_bomb_is_unpacked_no_further_than_its_header_says(tmp_path):
    path = save(tmp_path / "x.nii", body())
    with gzip.open(tmp_path / "x.nii.gz", "wb") as file:
        file.write(path.read_bytes() + bytes(1 << 24))
    np.testing.assert_array_equal(read_volume(tmp_path / "x.nii.gz").pixels, body())


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("axis", [0, 2])
def test_memory_does_not_grow_with_the_number_of_slices(tmp_path, ending, axis):
    hu = np.resize(body((1, 64, 80)), (1500, 64, 80))
    stored, affine = (hu, RAS) if axis == 0 else (hu.transpose(2, 1, 0), RAS[:, [2, 1, 0, 3]])
    path = save(tmp_path / f"x{ending}", stored, affine)
    (found,) = find_volumes([path])
    tracemalloc.start()
    count = sum(one.shape == (64, 80) for one in open_volume(found).slices())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 1500
    assert peak < (5 << 20) < hu.nbytes / 2  # gzip takes some MiB


def test_label_map_lies_as_its_ct_does(tmp_path):
    labels = (body() > -700).astype(np.uint8) * 7
    stored, affine = labels.transpose(2, 0, 1)[:, ::-1], RAS[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (stored.shape[1] - 1)
    affine[:3, 1] *= -1
    found = read_label_map(save(tmp_path / "x.nii.gz", stored, affine))
    np.testing.assert_array_equal(found.labels, labels)
    assert found.labels.dtype == np.int32
    np.testing.assert_allclose(found.geometry.affine, AFFINE, atol=1e-5)


def test_probabilities_are_no_label_map(tmp_path):
    path = save(tmp_path / "x.nii", np.full(body().shape, 0.25, np.float32))
    with pytest.raises(InputError, match="no whole numbers"):
        read_label_map(path)


@pytest.mark.skipif(not LIDC.exists(), reason="needs ../shared/data/ct/lidc")
def test_a_real_scan_lies_as_nibabel_says(tmp_path):
    (found,) = find_volumes([LIDC])
    volume = open_volume(found)
    assert volume.shape == (133, 512, 512)
    np.testing.assert_allclose(volume.spacing_mm, (2.5, 0.703125, 0.703125))
    theirs = nib.as_closest_canonical(nib.load(LIDC))
    top = np.asarray(theirs.dataobj[:, :, -1]).T[::-1, ::-1]  # RAS: head last
    np.testing.assert_array_equal(next(volume.slices()), np.clip(top, -1024, None))
