"""Masks as NIfTI on the grid of the input: the axes as they were stored, the same affine.

sform is the exact affine; qform is the nearest one without shear, which NIfTI cannot say in a
quaternion (a tilted gantry). ITK, which takes no sheared sform, then still reads the file, voxel by
voxel as it reads the input.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from pneumoseg.storage.files import whole_file
from pneumoseg.study import Geometry

Boxed = tuple[tuple[slice, slice, slice], NDArray[np.bool_]]
"""A part of a mask and where it lies in the volume, canonical axes."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SCANNER = 1
"""NIFTI_XFORM_SCANNER_ANAT: coordinates of the scanner."""
_MAGIC_GAP = b"\0\0\0\0"
"""No header extensions."""
_BLOCK = 16
"""Planes made at once."""
_COMPRESSION = 1
"""A mask packs a thousandfold at the lowest level already."""


def stored_affine(
    geometry: Geometry, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Where a canonical volume lies by its stored index.

    Args:
        geometry: of the volume.
        shape: (slices, rows, cols), canonical axes.

    Returns:
        float64 (4, 4), stored index to RAS mm (NIfTI's), and the shape of the stored array.
    """
    stored_shape = [0, 0, 0]
    from_stored = np.zeros((4, 4))
    from_stored[3, 3] = 1.0
    for canonical, (axis, flip) in enumerate(
        zip(geometry.stored_axes, geometry.stored_flips, strict=True)
    ):
        stored_shape[axis] = shape[canonical]
        from_stored[canonical, axis] = -1.0 if flip else 1.0
        from_stored[canonical, 3] = shape[canonical] - 1 if flip else 0.0
    affine = _LPS_TO_RAS @ geometry.affine @ from_stored + 0.0  # no -0.0
    return affine, (stored_shape[0], stored_shape[1], stored_shape[2])


def write_mask(
    path: Path, parts: Iterable[Boxed], shape: tuple[int, int, int], geometry: Geometry
) -> None:
    """Write a mask as ``.nii.gz``: uint8, 1 inside and 0 outside, the same bytes every time.

    Args:
        path: the file; it is there whole or not at all.
        parts: disjoint parts of the mask, such as lesions.
        shape: (slices, rows, cols) of the volume, canonical axes.
        geometry: of the volume.

    Raises:
        OSError: the file cannot be written.
    """
    affine, stored_shape = stored_affine(geometry, shape)
    kept = tuple(parts)
    with (
        whole_file(path) as part,
        part.open("wb") as raw,
        gzip.GzipFile("", "wb", _COMPRESSION, raw, mtime=0) as packed,
    ):
        packed.write(_header(affine, stored_shape))
        for start in range(0, stored_shape[2], _BLOCK):
            block = _stored_block(kept, shape, geometry, start)
            packed.write(block.tobytes(order="F"))


def _stored_block(
    parts: tuple[Boxed, ...], shape: tuple[int, int, int], geometry: Geometry, start: int
) -> NDArray[np.uint8]:
    """Some planes along the last stored axis, uint8, stored axes: the file is them one by one."""
    across = geometry.stored_axes.index(2)  # the canonical axis that is stored last
    stop = min(start + _BLOCK, shape[across])
    low, high = start, stop
    if geometry.stored_flips[across]:
        low, high = shape[across] - stop, shape[across] - start
    sides = list(shape)
    sides[across] = high - low
    block = np.zeros(sides, dtype=np.uint8)
    for box, inside in parts:
        first, last = max(low, box[across].start), min(high, box[across].stop)
        if first < last:
            to, of = list(box), [slice(None)] * 3
            to[across] = slice(first - low, last - low)
            of[across] = slice(first - box[across].start, last - box[across].start)
            block[tuple(to)] |= inside[tuple(of)]
    turned = tuple(slice(None, None, -1 if flip else 1) for flip in geometry.stored_flips)
    return block[turned].transpose(np.argsort(geometry.stored_axes))


def _header(affine: NDArray[np.float64], stored_shape: tuple[int, int, int]) -> bytes:
    """NIfTI-1 header and the empty extension field behind it: 352 bytes."""
    kind: Any = nib.Nifti1Header  # nibabel's classes have no types
    header = kind()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(stored_shape)
    header.set_sform(affine, code=_SCANNER)
    header.set_qform(affine, code=_SCANNER, strip_shears=True)
    header.set_xyzt_units("mm")
    header["magic"] = b"n+1"
    header["vox_offset"] = len(header.binaryblock) + len(_MAGIC_GAP)
    header["descrip"] = b"pneumothorax mask, research use only"
    content: bytes = header.binaryblock + _MAGIC_GAP
    return content
