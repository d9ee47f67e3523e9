"""A packed volume: the same bytes every time, its voxels where the affine says."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np

from pneumoseg.writing.nifti_bytes import nifti_bytes

AFFINE = np.array([[0, 0, 2.0, 10], [0, 3.0, 0, 20], [-5.0, 0, 0, 30], [0, 0, 0, 1]])
"""Canonical (slice, row, col) to LPS mm: 5 mm down, 3 mm back, 2 mm left."""


def test_voxels_come_back_in_their_places() -> None:
    """RAS turns the signs of left and posterior round."""
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(nifti_bytes(voxels, AFFINE)))
    assert image.shape == (4, 3, 2)
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), voxels)
    assert np.allclose(image.affine @ [3, 2, 1, 1], [-(10 + 6), -(20 + 6), 30 - 5, 1])
    assert image.header.get_xyzt_units()[0] == "mm"


def test_the_bytes_are_the_same_every_time_and_hold_no_time() -> None:
    voxels = np.ones((2, 3, 4), dtype=np.uint8)
    first, second = nifti_bytes(voxels, AFFINE), nifti_bytes(voxels.copy(), AFFINE)
    assert first == second
    assert first[4:8] == bytes(4)  # the time in a gzip header, RFC 1952
