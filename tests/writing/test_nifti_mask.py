"""Masks come back on the input voxel by voxel, whatever way the input was stored."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from ct_files import AFFINE, body, oblique_affine, tilted_affine

from pneumoseg.reading.volumes import VolumeInput, find_volumes, open_volume
from pneumoseg.study import Geometry
from pneumoseg.writing.nifti import stored_affine, write_mask

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (6, 64, 80)
ORIENTATIONS = [
    "".join(axis[side] for axis, side in zip(order, sides, strict=True))
    for order in permutations((("R", "L"), ("A", "P"), ("S", "I")))
    for sides in product((0, 1), repeat=3)
]
THRESHOLD = -700
"""Of the body's HU, which rise along every axis: what is above is the "lesion"."""


def stored_in(codes: str, affine: np.ndarray, path: Path) -> Path:
    """The body as nibabel turns it round."""
    image = nib.Nifti1Image(body(SHAPE).transpose(2, 1, 0), RAS @ affine[:, [2, 1, 0, 3]])
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)
    )
    nib.save(image.as_reoriented(turn), path)
    return path


def mask_of(path: Path, out: Path) -> Path:
    """What a run does: read canonical slices, outline, write on the input's own grid."""
    (found,) = find_volumes([path])
    assert isinstance(found, VolumeInput)
    volume = open_volume(found)
    assert volume.geometry is not None
    mask = np.stack(list(volume.slices())) > THRESHOLD
    # two parts that meet, as lesions do
    parts = [
        ((slice(0, 2), slice(0, 64), slice(0, 80)), mask[:2]),
        ((slice(2, 6), slice(3, 64), slice(0, 80)), mask[2:, 3:]),
        ((slice(2, 6), slice(0, 3), slice(0, 80)), mask[2:, :3]),
    ]
    write_mask(out, parts, volume.shape, volume.geometry)
    return out


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_with_nibabel_and_simpleitk(codes: str, tmp_path: Path) -> None:
    """Breaks if a flip or an exchange of axes on the way in is not undone on the way out."""
    source = stored_in(codes, AFFINE, tmp_path / "in.nii.gz")
    out = mask_of(source, tmp_path / "mask.nii.gz")
    image, mask = nib.load(source), nib.load(out)
    assert mask.shape == image.shape
    assert np.allclose(mask.affine, image.affine, atol=1e-4)
    assert mask.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(mask.dataobj) == 1, np.asarray(image.dataobj) > THRESHOLD)
    scan, outline = (SimpleITK.ReadImage(str(path)) for path in (source, out))
    for name in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(outline, name)() == pytest.approx(getattr(scan, name)(), abs=1e-4)
    assert np.array_equal(
        SimpleITK.GetArrayFromImage(outline) == 1, SimpleITK.GetArrayFromImage(scan) > THRESHOLD
    )


@pytest.mark.parametrize("affine", [oblique_affine(20), tilted_affine(15)], ids=["oblique", "tilt"])
def test_oblique_and_sheared_volumes(affine: np.ndarray, tmp_path: Path) -> None:
    """A tilted gantry shears: the sform is exact, and ITK, which takes no shear, still reads it."""
    source = tmp_path / "in.nii"
    nib.save(nib.Nifti1Image(body(SHAPE).transpose(2, 1, 0), RAS @ affine[:, [2, 1, 0, 3]]), source)
    out = mask_of(source, tmp_path / "mask.nii.gz")
    image, mask = nib.load(source), nib.load(out)
    assert np.allclose(mask.affine, image.affine, atol=1e-4)
    assert np.array_equal(np.asarray(mask.dataobj) == 1, np.asarray(image.dataobj) > THRESHOLD)
    outline = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(out)))
    assert np.array_equal(outline.transpose(2, 1, 0) == 1, np.asarray(image.dataobj) > THRESHOLD)


def test_the_same_mask_has_the_same_bytes(tmp_path: Path) -> None:
    geometry = Geometry(AFFINE)
    part = ((slice(1, 2), slice(0, 5), slice(0, 5)), np.ones((1, 5, 5), np.bool_))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_mask(tmp_path / name, [part], SHAPE, geometry)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_an_empty_mask_is_all_zero_and_whole(tmp_path: Path) -> None:
    write_mask(tmp_path / "empty.nii.gz", [], SHAPE, Geometry(AFFINE))
    content = gzip.decompress((tmp_path / "empty.nii.gz").read_bytes())
    assert len(content) == 352 + 6 * 64 * 80
    assert not any(content[352:])
    assert [path.name for path in tmp_path.iterdir()] == ["empty.nii.gz"]  # no temporary file


def test_the_stored_affine_undoes_flips() -> None:
    """Canonical voxel (0, 0, 0) is the last stored one where every axis is turned round."""
    geometry = Geometry(AFFINE, (2, 1, 0), (True, True, True))
    affine, shape = stored_affine(geometry, SHAPE)
    assert shape == (80, 64, 6)
    expected = RAS @ AFFINE @ [0, 0, 0, 1]
    assert affine @ [79, 63, 5, 1] == pytest.approx(expected)
