"""A volume on canonical axes as the bytes of a ``.nii.gz`` file, the same bytes every time.

No time of writing and no name is stored, so that files can be compared. The array in the file has
the axes (cols, rows, slices), the usual order of NIfTI.
"""

from __future__ import annotations

import gzip
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_COMPRESSION = 1
"""Noise hardly packs: higher levels take three times as long for some per cent."""


def nifti_bytes(voxels: NDArray[np.generic], affine: NDArray[np.float64]) -> bytes:
    """Pack a volume.

    Args:
        voxels: (slices, rows, cols), of a type that NIfTI knows.
        affine: float64 (4, 4), index (slice, row, col, 1) to LPS mm, as in
            :class:`~pneumoseg.study.Geometry`.
    """
    turned = _LPS_TO_RAS @ affine[:, [2, 1, 0, 3]] + 0.0  # no -0.0
    kind: Any = nib.Nifti1Image  # nibabel's classes have no types
    image = kind(np.ascontiguousarray(voxels.transpose(2, 1, 0)), turned)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=_COMPRESSION, mtime=0)
