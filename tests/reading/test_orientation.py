"""A mark on the patient's left, anterior and near the head comes back there, whatever the file.

If one of these fails, a pneumothorax is reported on the wrong side.
"""

from __future__ import annotations

import itertools

import ct_files
import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from ct_files import AFFINE, MARK, MARK_HU, MARK_LPS, SPACING_MM, body
from PIL import Image as Pillow

from pneumoseg.reading.orientation import axis_map, canonical_geometry
from pneumoseg.reading.volumes import find_volumes, open_volume, read_volume

POSTURES = {
    "head first supine": ct_files.SUPINE,
    "prone": ct_files.PRONE,
    "feet first": ct_files.FEET_FIRST,
    "rows and columns exchanged": ct_files.TURNED,
}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AXIS_ORDERS = [
    (axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def check(image, hu=None, affine=AFFINE):
    """The mark, every voxel, and the place of every voxel."""
    hu = body() if hu is None else hu
    assert np.unravel_index(np.argmax(image.pixels), image.pixels.shape) == MARK
    assert image.pixels[MARK] == MARK_HU
    np.testing.assert_array_equal(image.pixels, hu)
    np.testing.assert_allclose(image.geometry.affine, affine, atol=1e-4)


def write_nifti(path, hu=None, affine=AFFINE, axes=(0, 1, 2), flips=(1, 1, 1)):
    """Stored axis k is canonical axis ``axes[k]``, turned round where ``flips[k]`` is −1."""
    hu = body() if hu is None else hu
    canonical = nib.Nifti1Image(hu, LPS_TO_RAS @ affine)
    stored = canonical.as_reoriented(
        np.array([[axes.index(k), flips[axes.index(k)]] for k in range(3)])
    )
    nib.save(stored, path)
    return path


@pytest.mark.parametrize("posture", POSTURES.values(), ids=POSTURES)
def test_dicom_series(tmp_path, posture):
    ct_files.write_series(tmp_path, ct_files.series(body(), orientation=posture))
    image = read_volume(tmp_path)
    check(image)
    np.testing.assert_allclose((image.geometry.affine @ [*MARK, 1])[:3], MARK_LPS, atol=1e-4)
    np.testing.assert_allclose(image.spacing_mm, SPACING_MM, atol=1e-5)


@pytest.mark.parametrize("posture", POSTURES.values(), ids=POSTURES)
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "per frame"])
def test_enhanced_dicom(tmp_path, posture, shared):
    dataset = ct_files.enhanced(body(), orientation=posture, shared_orientation=shared)
    check(read_volume(ct_files.write(tmp_path / "x", dataset)))


@pytest.mark.parametrize(("axes", "flips"), AXIS_ORDERS)
def test_nifti_in_every_axis_order(tmp_path, axes, flips):
    image = read_volume(write_nifti(tmp_path / "x.nii", axes=axes, flips=flips))
    check(image)
    assert tuple(image.geometry.stored_axes[axes[k]] for k in range(3)) == (0, 1, 2)
    assert image.geometry.stored_flips == tuple(flips[axes.index(k)] == -1 for k in range(3))


@pytest.mark.parametrize("degrees", [10.0, -25.0])
@pytest.mark.parametrize(("axes", "flips"), AXIS_ORDERS[::7])
def test_oblique_nifti(tmp_path, degrees, axes, flips):
    affine = ct_files.oblique_affine(degrees)
    path = write_nifti(tmp_path / "x.nii.gz", affine=affine, axes=axes, flips=flips)
    check(read_volume(path), affine=affine)


@pytest.mark.parametrize("posture", POSTURES.values(), ids=POSTURES)
def test_oblique_dicom(tmp_path, posture):
    affine = ct_files.oblique_affine(12.0)
    ct_files.write_series(tmp_path, ct_files.series(body(), affine, posture))
    check(read_volume(tmp_path), affine=affine)


def test_picture_is_taken_as_displayed(tmp_path):
    """A picture shows the patient from the feet: right on the left side, anterior at the top."""
    grey = np.full((64, 80), 40, dtype=np.uint8)
    grey[MARK[1:]] = 255
    path = tmp_path / "slice.png"
    Pillow.fromarray(grey).save(path)
    image = read_volume(path)
    assert np.unravel_index(np.argmax(image.pixels[0]), grey.shape) == MARK[1:]
    assert image.geometry is None
    assert image.spacing_mm is None
    assert "patient's right" in image.source.notes[-1]


def simple_itk_agrees(image, other):
    """Every tenth voxel of ours lies in SimpleITK's image where the values are the same."""
    for index in itertools.islice(np.ndindex(*image.pixels.shape), 0, None, 997):
        point = image.geometry.affine @ [*index, 1]
        there = other.TransformPhysicalPointToIndex([float(p) for p in point[:3]])
        assert other[there] == image.pixels[index], index


@pytest.mark.parametrize("posture", POSTURES.values(), ids=POSTURES)
def test_simple_itk_reads_the_same_series(tmp_path, posture):
    folder = ct_files.write_series(
        tmp_path / "a", ct_files.series(body(), ct_files.oblique_affine(8.0), posture)
    )
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    simple_itk_agrees(read_volume(folder), reader.Execute())


@pytest.mark.parametrize(("axes", "flips"), AXIS_ORDERS[::5])
def test_simple_itk_and_nibabel_read_the_same_nifti(tmp_path, axes, flips):
    affine = ct_files.oblique_affine(8.0)
    path = write_nifti(tmp_path / "x.nii", affine=affine, axes=axes, flips=flips)
    image = read_volume(path)
    simple_itk_agrees(image, SimpleITK.ReadImage(str(path)))
    canonical = nib.as_closest_canonical(nib.load(path))  # RAS: cols, rows, slices, all reversed
    theirs = np.asarray(canonical.dataobj).transpose(2, 1, 0)[::-1, ::-1, ::-1]
    np.testing.assert_array_equal(image.pixels, theirs)


def test_dicom_and_nifti_of_one_body_are_the_same(tmp_path):
    """SimpleITK converts the series; the NIfTI file then is the same volume at the same place."""
    folder = ct_files.write_series(
        tmp_path / "a", ct_files.series(body(), orientation=ct_files.PRONE)
    )
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    SimpleITK.WriteImage(reader.Execute(), str(tmp_path / "x.nii.gz"))
    check(read_volume(tmp_path / "x.nii.gz"))


def test_volume_and_image_agree(tmp_path):
    path = write_nifti(tmp_path / "x.nii", axes=(2, 0, 1), flips=(-1, 1, -1))
    (found,) = find_volumes([path])
    volume = open_volume(found)
    image = read_volume(found)
    assert volume.shape == image.shape == ct_files.SHAPE
    np.testing.assert_array_equal(list(volume.slices(2, 4)), image.pixels[2:4])
    assert list(volume.slices(6)) == []


def test_axes_at_45_degrees_keep_the_stored_order():
    """A tie must not depend on rounding: columns, rows, slices of the file stay what they are."""
    half = np.sqrt(0.5)
    affine = np.eye(4)
    affine[:3, :3] = [[half, -half, 0], [half, half, 0], [0, 0, -1]]
    found = axis_map(affine)
    assert found.stored_axes == (2, 1, 0)
    assert found.stored_flips == (False, False, False)


def test_geometry_of_a_turned_axis_starts_at_its_other_end():
    geometry = canonical_geometry(np.diag([-2.0, 1.0, 1.0, 1.0]), (5, 4, 3))
    assert geometry.stored_axes == (2, 1, 0)
    assert geometry.stored_flips == (True, False, True)
    np.testing.assert_array_equal(geometry.affine @ [0, 0, 0, 1], [-8, 0, 2, 1])
